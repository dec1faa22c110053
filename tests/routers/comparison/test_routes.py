"""Routes as arrays: every form of a routing, before and after drops, against slow loops."""

import numpy as np
import pytest
import torch

import experts
import routers
from experts import MoE, MultiGateMoE
from routers import ConfigError, Items
from routers.comparison import Routes, indicator


def triples(routes):
    """``(item, expert, weights, kept)`` of each assignment."""
    return [
        (n, int(routes.experts[a]), routes.weights[a].tolist(), bool(routes.kept[a]))
        for n in range(len(routes))
        for a in range(routes.offsets[n], routes.offsets[n + 1])
    ]


def slow(routing):
    """The same from a loop over the assignments; experts of an item differ."""
    before = routing if routing.before is None else routing.before
    after = {
        (int(routing.item[a]), int(routing.expert[a])): routing.weight[a].reshape(-1).tolist()
        for a in range(routing.num_assignments)
    }
    real = torch.ones(routing.num_items).bool() if routing.mask is None else routing.mask
    place = (real.cumsum(0) - 1).tolist()
    found = []
    for a in range(before.num_assignments):
        cell = int(before.item[a]), int(before.expert[a])
        weights = after.get(cell, before.weight[a].reshape(-1).tolist())
        found.append((place[cell[0]], cell[1], weights, cell in after))
    return sorted(found, key=lambda each: each[0])


MASK = torch.rand(24, generator=torch.Generator().manual_seed(3)) > 0.3


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
@pytest.mark.parametrize("name", ["topk", "expert_choice", "top_p", "soft_mixture", "merged"])
def test_routes_before_and_after_drops(name, mask):
    torch.manual_seed(0)
    router = routers.build(name, 8, 6).double()
    routing = router(Items(torch.randn(24, 8).double(), groups=2, mask=mask))
    limited = routing.limit(0.5)
    for each in (routing, limited, limited.drop(limited.expert != 1, renormalize=True)):
        each = each.detach()
        routes, expected = Routes.of(each), slow(each)
        assert [t[:2] + t[3:] for t in triples(routes)] == [t[:2] + t[3:] for t in expected]
        weights = np.array([t[2] for t in triples(routes)])
        np.testing.assert_allclose(weights, np.array([t[2] for t in expected]), atol=1e-6)
        real = each.unpadded(each.assigned_mask).double().numpy()
        np.testing.assert_array_equal(routes.assigned.toarray(), real)
        np.testing.assert_array_equal(np.asarray(routes.assigned.sum(0)), real.sum(0))


def test_drops_are_counted():
    torch.manual_seed(0)
    routing = routers.build("topk", 8, 4, k=2)(Items(torch.randn(30, 8))).limit(0.5)
    routes = Routes.of(routing)
    assert routes.dropped == pytest.approx(1 - int(routing.load.sum()) / 60)
    assert routes.unrouted == pytest.approx(float((~routing.assigned_mask.any(1)).float().mean()))
    assert 0 < routes.unrouted < routes.dropped
    np.testing.assert_array_equal(np.asarray(routes.requested.sum(1)), np.full(30, 2))


def test_an_expert_that_an_item_has_twice():
    """The weight that stays is that of the assignment that stays."""
    weight = torch.tensor([[0.1, 0.2, 0.7]])
    routing = routers.Routing.by_item(
        Items(torch.zeros(1, 1)), torch.tensor([[1, 0, 1]]), weight, 2
    )
    dropped = routing.drop(torch.tensor([False, True, True]))
    routes = Routes.of(dropped)
    assert routes.kept.sum() == 2
    np.testing.assert_allclose(routes.mass.toarray(), [[0.2, 0.7]], rtol=1e-6)
    assert routes.assigned.toarray().tolist() == [[1.0, 1.0]]


def test_slots_give_the_mass_of_each_expert():
    torch.manual_seed(0)
    items = Items(torch.randn(12, 3), groups=2, mask=torch.arange(12) % 6 < 5)
    routing = routers.build("soft_moe", 3, 2, slots=2)(items)
    routes = Routes.of(routing)
    combine = routing.execution.combine.detach()  # (2, 6, 4): slots 0 and 1 are expert 0's
    expected = combine.view(12, 2, 2).sum(-1)[items.mask]
    np.testing.assert_allclose(routes.mass.toarray(), expected, rtol=1e-5)
    heaviest = routes.chosen.toarray()
    np.testing.assert_array_equal(heaviest.argmax(1), expected.argmax(1))
    assert heaviest.sum() == 10


@pytest.mark.parametrize("name", ["topk", "soft_moe"])
def test_weights_of_several_gates(name):
    torch.manual_seed(0)
    gates = [routers.build(name, 8, 4) for _ in range(3)]
    layer = MultiGateMoE(gates, experts.build("mlp", 8, 4), experts.mmoe(4, tasks=3))
    routing = layer(torch.randn(1, 5, 8))[1].detach()
    routes = Routes.of(routing)
    assert routes.weights.shape == (len(routes.experts), 3)
    sums = np.zeros((5, 3))
    np.add.at(sums, routes.item, routes.weights)
    np.testing.assert_allclose(sums, 1, atol=1e-5)  # of each gate


def test_routings_follow_one_another():
    layer = MoE(
        routers.build("topk", 8, 4, k=1, weighting="probability"), experts.build("mlp", 8, 4)
    )
    one, other = layer(torch.randn(3, 8))[1], layer(torch.randn(5, 8))[1]
    routes = Routes.of(one, other)
    assert len(routes) == 8
    assert routes.experts.tolist() == [*one.expert.tolist(), *other.expert.tolist()]
    wider = routers.build("topk", 8, 5)(torch.randn(3, 8))
    with pytest.raises(ConfigError, match="routes of one layer expected"):
        Routes.of(one, wider)


def test_no_routes_without_two_axes():
    with pytest.raises(ConfigError, match=r"routes have shape \(3,\): expected \(N, E\)"):
        indicator(np.zeros(3))
