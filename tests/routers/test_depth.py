"""Depth: the processed items, their weights and their experts."""

import math

import pytest
import torch

import routers
from routers import ConfigError, Items


def router_of(e: int, **options: object) -> routers.Router:
    """The last feature is the item's depth score, the others score the experts."""
    router = routers.build("depth", e + 1, e, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(e, e + 1))
        router.depth_gate.weight.copy_(torch.eye(e + 1)[e:])
    return router.eval()


def test_with_one_expert_the_top_half_goes_through_with_its_score():
    x = torch.tensor([[9.0, 0.3], [9.0, -2.0], [9.0, 0.7], [9.0, 0.1]])
    routing = router_of(1, share=0.5)(Items(x))
    assert routing.item.tolist() == [0, 2]
    torch.testing.assert_close(routing.weight, torch.tensor([0.3, 0.7]))


def test_with_more_experts_the_score_multiplies_their_weights():
    x = torch.tensor([[1.0, 3.0, 6.0, 0.0]]).log().nan_to_num(neginf=0.0)
    x[:, 3] = 2.0
    routing = router_of(3, share=1.0, k=2)(Items(x))
    assert routing.expert.tolist() == [2, 1]
    torch.testing.assert_close(routing.weight, torch.tensor([1.2, 0.6]))


@pytest.mark.parametrize("share", [0.125, 0.3, 0.5, 1.0])
def test_as_many_of_each_group_as_the_share_says(share):
    torch.manual_seed(0)
    mask = torch.rand(30) > 0.3
    x = torch.randn(30, 4)
    routing = router_of(3, share=share)(Items(x, groups=3, mask=mask))
    for group in range(3):
        members = [i for i in range(group * 10, group * 10 + 10) if mask[i]]
        most = math.ceil(share * len(members) - 1e-9)
        best = sorted(members, key=lambda i: -x[i, 3].item())[:most]
        assert [i for i in routing.item.tolist() if i // 10 == group] == sorted(best)


def test_of_equals_the_first_go_through():
    routing = router_of(2, share=0.5)(Items(torch.zeros(6, 3)))
    assert routing.item.tolist() == [0, 1, 2]


def test_those_who_skip_were_not_dropped():
    routing = router_of(2, share=0.5)(Items(torch.randn(8, 3)))
    assert routing.requested_load.tolist() == routing.load.tolist()
    # an even share of what is meant to go through: ceil(1.0 * 0.5 * 8 / 2)
    assert routing.limit(1.0).load.max() <= 2


def test_later_items_push_earlier_ones_aside_and_it_says_so():
    early, late = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]])
    router = router_of(1, share=0.5)
    assert router(Items(torch.cat([early, -late]))).item.tolist() == [0]
    assert router(Items(torch.cat([early, late]))).item.tolist() == [1]
    assert not router.traits.causal
    assert not router.traits.per_item


def test_a_predictor_learns_the_selection_and_teaches_nothing_else():
    torch.manual_seed(0)
    router = routers.build("depth", 4, 2, share=0.25, predictor="linear").train()
    x = torch.randn(400, 4, requires_grad=True)
    items = Items(x)  # one group: one bar for all, which a linear gate can learn
    assert router.offset.sigmoid().item() == pytest.approx(0.25)  # the share, before it learns
    optimizer = torch.optim.Adam(router.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in router.named_parameters()}
    for _ in range(150):
        optimizer.zero_grad()
        routing = router(items)
        routers.LOSSES["imitation"](routing).backward()
        optimizer.step()
    moved = [n for n, value in router.named_parameters() if not torch.equal(value, before[n])]
    assert sorted(moved) == ["offset", "predictor.weight"]
    assert x.grad is None
    assert routing.extras["imitated"].sum() == 100
    assert "imitator" in router.eval()(items).extras  # losses are evaluated too
    chosen, predicted = routing.assigned_mask.any(1), router.eval()(items).assigned_mask.any(1)
    assert (chosen == predicted).double().mean() > 0.97
    assert router.traits.causal_in_eval
    assert not router.traits.causal
    for gate in ("gate", "depth_gate", "predictor"):
        sees = routers.build("depth", 4, 2, **{"predictor": "linear", gate: "attention"})
        assert not sees.traits.causal_in_eval


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_share_out_of_range(share):
    with pytest.raises(ConfigError, match=r"router\.share=.*in \(0, 1\]"):
        routers.build("depth", 4, 4, share=share)
