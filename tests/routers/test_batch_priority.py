"""Batch priority: dropped items, and the noise."""

import pytest
import torch

import routers
from routers import ConfigError, Items


def identity_router(**options: object) -> routers.Router:
    """Two experts whose logits are the item itself."""
    router = routers.build("batch_priority", 2, 2, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(2))
    return router


def test_the_least_sure_are_turned_away():
    # all want expert 0, of two places: ceil(1.0 * 4 / 2)
    x = torch.tensor([[0.1, 0.0], [3.0, 0.0], [0.5, 0.0], [2.0, 0.0]])
    routing = identity_router(k=1, capacity=1.0).eval()(Items(x))
    assert routing.item.tolist() == [1, 3]
    assert routing.requested_load.tolist() == [4, 0]
    torch.testing.assert_close(routing.weight, x.softmax(1)[[1, 3], 0])


def test_first_choices_are_seated_before_surer_seconds():
    # item 1 is surest, yet its second choice yields to item 0's first: 1 place, ceil(.5 * 4 / 2)
    x = torch.tensor([[0.0, 0.1], [5.0, 0.0]])
    routing = identity_router(k=2, capacity=0.5).eval()(Items(x))
    assert sorted(zip(routing.item.tolist(), routing.expert.tolist(), strict=True)) == [
        (0, 1),
        (1, 0),
    ]


def test_each_group_has_its_own_places():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    routing = identity_router(k=1, capacity=1.0).eval()(Items(x, groups=2))
    assert routing.item.tolist() == [1, 3]


def test_enough_places_are_topk():
    torch.manual_seed(0)
    router = routers.build("batch_priority", 6, 4, k=2, capacity=2.0).eval()
    plain = routers.build("topk", 6, 4, k=2, weighting="probability").eval()
    plain.gate.load_state_dict(router.gate.state_dict())
    items = Items(torch.randn(9, 6))
    one, other = router(items), plain(items)
    assert one.item.tolist() == other.item.tolist()
    assert one.expert.tolist() == other.expert.tolist()
    torch.testing.assert_close(one.weight, other.weight)


def test_the_noise_has_a_deviation_of_one_over_experts():
    torch.manual_seed(0)
    router = routers.build("batch_priority", 3, 8).train()
    x = torch.randn(4000, 3)
    noise = router(Items(x)).logits - router.gate(Items(x))
    assert noise.std().item() == pytest.approx(1 / 8, rel=0.02)
    assert torch.equal(router.eval()(Items(x)).logits, router.gate(Items(x)))


def test_bad_options():
    with pytest.raises(
        ConfigError, match=r"router\.capacity=0 is invalid: expected a finite number > 0"
    ):
        routers.build("batch_priority", 4, 4, capacity=0)
    with pytest.raises(ConfigError, match=r"router\.k=1.*use weighting=probability"):
        routers.build("batch_priority", 4, 4, k=1, weighting="renormalized")
