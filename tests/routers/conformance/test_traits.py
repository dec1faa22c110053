"""Promises and leaks, shown on inputs one can follow."""

import pytest
import torch

import routers
from routers import Items

from ...router_samples import SELECTING, random_projections

LEARNED = [n for n in SELECTING if routers.ROUTERS[n].traits.learned]


def perturbed_suffix(name: str, **options: object) -> bool:
    """Whether new items at places 4 and 5 change what happens at places 0 to 3."""
    torch.manual_seed(0)
    router = routers.build(name, 8, 4, **options).eval()
    x = torch.randn(6, 8)
    other = torch.cat([x[:4], torch.randn(2, 8) * 3])
    ids = torch.arange(6)
    before, after = (
        router(Items(v, ids=ids, task=ids % 2, projections=random_projections(8, 4)))
        for v in (x, other)
    )
    return not torch.allclose(before.probs[:4], after.probs[:4]) or not torch.equal(
        before.assigned_mask[:4], after.assigned_mask[:4]
    )


@pytest.mark.parametrize("name", [n for n in LEARNED if routers.ROUTERS[n].traits.causal])
def test_causal_routers_do_not_see_the_future(name):
    assert not perturbed_suffix(name)


@pytest.mark.parametrize("name", [n for n in LEARNED if "gate" in routers.ROUTERS.options(n)])
def test_a_gate_that_sees_the_group_takes_promises_back(name):
    router = routers.build(name, 8, 4, gate="attention")
    assert not router.traits.per_item
    assert not router.traits.causal
    assert perturbed_suffix(name, gate="attention")


def test_taking_a_promise_back_concerns_the_instance_alone():
    routers.build("topk", 8, 4, gate="attention")
    assert routers.ROUTERS["topk"].traits.causal
    assert routers.build("topk", 8, 4).traits.causal


def test_probability_weighting_is_not_convex():
    assert routers.build("topk", 8, 4).traits.convex
    assert not routers.build("topk", 8, 4, weighting="probability").traits.convex


def test_uniform_counts_real_items_in_turn():
    mask = torch.tensor([True, False, True, True])
    routing = routers.build("uniform", 1, 3, k=1)(Items(torch.zeros(4, 1), mask=mask))
    assert routing.item.tolist() == [0, 2, 3]
    assert routing.expert.tolist() == [0, 1, 2]


def test_uniform_starts_over_in_each_group():
    routing = routers.build("uniform", 1, 4, k=2)(Items(torch.zeros(4, 1), groups=2))
    assert routing.expert.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_random_fixed_learns_nothing_and_routes_by_content():
    torch.manual_seed(0)
    router = routers.build("random_fixed", 4, 8)
    x = torch.randn(1, 4).repeat(3, 1)
    assert len(set(router(Items(x)).expert.view(3, 2)[:, 0].tolist())) == 1
    assert not any(p.requires_grad for p in router.parameters())


def test_eval_is_deterministic_where_training_is_not():
    torch.manual_seed(0)
    items = Items(torch.randn(5, 4))
    for name, options in (("noisy_topk", {}), ("hierarchical", {}), ("topk", {"jitter": 0.5})):
        router = routers.build(name, 4, 4, **options)
        assert not torch.equal(router(items).logits, router(items).logits)
        router.eval()
        assert torch.equal(router(items).logits, router(items).logits)


def test_soft_mixture_temperature():
    torch.manual_seed(0)
    items = Items(torch.randn(5, 4))
    cold, warm = (routers.build("soft_mixture", 4, 3, temperature=t).eval() for t in (0.1, 100.0))
    cold.load_state_dict(warm.state_dict())
    torch.testing.assert_close(warm(items).probs, torch.full((5, 3), 1 / 3), atol=0.02, rtol=0)
    torch.testing.assert_close(cold(items).logits, 1000 * warm(items).logits)
