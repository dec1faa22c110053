"""Hierarchical gates compared with slow loops over the paper's formulas."""

import math

import pytest
import torch

import routers
from routers import LOSSES, ConfigError, Items

BRANCHES, SIZE, D = 3, 2, 5


def build(**options: object) -> routers.Router:
    torch.manual_seed(0)
    return routers.build("hierarchical", D, BRANCHES * SIZE, branches=BRANCHES, **options)


def phi(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def chance(clean: list[float], std: list[float], k: int, e: int) -> float:
    """Equation 9, where no noise was drawn."""
    if k == len(clean):
        return 1.0
    others = sorted((h for i, h in enumerate(clean) if i != e), reverse=True)
    return phi((clean[e] - others[k - 1]) / std[e])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_expected_load_by_slow_loops(k, masked):
    router = build(k=k).double().eval()
    with torch.no_grad():
        router.primary.spread.normal_()
        router.secondary.spread.normal_()
    mask = torch.rand(9) > 0.4 if masked else None
    items = Items(torch.randn(9, D, dtype=torch.float64), mask=mask)
    found = router(items).expected_load

    first, second = router.primary(items), router.secondary(items)
    real = [n for n in range(9) if mask is None or mask[n]]
    for i in range(BRANCHES):
        clean, std = first.clean.tolist(), first.std.tolist()
        load_p = sum(chance(clean[n], std[n], 2, i) for n in real)
        sent = [n for n in real if i in torch.tensor(clean[n]).topk(2).indices]
        cut = slice(i * SIZE, (i + 1) * SIZE)
        for j in range(SIZE):
            inner = sum(
                chance(second.clean[n, cut].tolist(), second.std[n, cut].tolist(), k, j)
                for n in sent
            )
            by_hand = load_p * inner / max(len(sent), 1)
            assert found[i * SIZE + j].item() == pytest.approx(by_hand)


def test_expected_load_teaches_the_primary_gate():
    router = build()
    LOSSES["load"](router(Items(torch.randn(32, D)))).backward()
    assert router.primary.gate.weight.grad.norm() > 1e-4
    assert router.secondary.gate.weight.grad.norm() > 1e-4


def test_weights_are_products_of_both_levels():
    router = build(k=2).eval()
    items = Items(torch.randn(7, D))
    routing = router(items)
    outer = router.primary(items).noisy.softmax(-1)
    inner = router.secondary(items).noisy.view(7, BRANCHES, SIZE).softmax(-1)
    for item, expert, weight in zip(
        routing.item.tolist(), routing.expert.tolist(), routing.weight.tolist(), strict=True
    ):
        i, j = divmod(expert, SIZE)
        by_hand = outer[item, i] * inner[item, i, j]
        assert weight == pytest.approx(by_hand.item(), rel=16 * torch.finfo(torch.float32).eps)


def test_experts_come_from_the_best_branches():
    router = build().eval()
    items = Items(torch.randn(7, D))
    routing = router(items)
    best = router.primary(items).noisy.topk(2).indices
    for item in range(7):
        branches = (routing.expert[routing.item == item] // SIZE).tolist()
        assert sorted(branches) == sorted(best[item].tolist())


def test_probs_are_the_joint_distribution():
    probs = build()(Items(torch.randn(4, D))).probs
    torch.testing.assert_close(probs.sum(-1), torch.ones(4))


def test_renormalized_promises_weights_that_sum_to_one():
    router = build(primary_k=2, k=2, weighting="renormalized")
    assert router.traits.convex
    assert not build().traits.convex
    routing = router(Items(torch.randn(5, D)))
    torch.testing.assert_close(routing.weight.view(5, 4).sum(1), torch.ones(5))


def test_branches_must_divide():
    with pytest.raises(ConfigError, match=r"branches=4.*divisor of num_experts=6: 1, 2, 3, 6"):
        routers.build("hierarchical", D, 6, branches=4)


@pytest.mark.parametrize(("prime", "instead"), [(2, 4), (3, 4), (5, 6), (7, 8)])
def test_a_prime_number_is_refused_with_the_next_that_is_none(prime, instead):
    cure = f"Use {instead} experts, or branches={prime}"
    with pytest.raises(ConfigError, match=rf"num_experts={prime} .*{cure}"):
        routers.build("hierarchical", D, prime)
    assert routers.build("hierarchical", D, instead).branches > 1


@pytest.mark.parametrize(("num_experts", "branches"), [(16, 4), (12, 4), (8, 4), (6, 3)])
def test_branches_default_to_the_least_divisor_not_below_the_root(num_experts, branches):
    assert routers.build("hierarchical", D, num_experts).branches == branches


def test_both_levels_are_sparse_by_default_and_the_load_loss_reaches_both():
    torch.manual_seed(0)
    router = routers.build("hierarchical", D, 8)
    assert router.primary_k < router.branches
    assert router.k < router.size
    routers.LOSSES["load"](router(Items(torch.randn(20, D)))).backward()
    for level in (router.primary, router.secondary):
        assert level.gate.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("option", "value"), [("primary_k", 4), ("k", 3), ("k", 0)])
def test_more_than_there_is_to_choose_from(option, value):
    with pytest.raises(ConfigError, match=rf"router\.{option}={value}"):
        build(**{option: value})
