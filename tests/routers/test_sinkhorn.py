"""Sinkhorn: the plan compared with slow scaling, the selection, and logits of any size."""

import numpy as np
import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.sinkhorn import column_potentials


def slow_plan(scores: np.ndarray, rounds: int) -> np.ndarray:
    """``exp(h)`` of one group with its rows and columns scaled in turn."""
    n, e = scores.shape
    plan = np.exp(scores)
    for _ in range(rounds):
        plan = plan / plan.sum(1, keepdims=True)
        plan = plan / plan.sum(0, keepdims=True) * n / e
    return plan


def identity_router(e: int, **options: object) -> routers.Router:
    """Logits are the item itself."""
    router = routers.build("sinkhorn", e, e, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(e))
    return router


@pytest.mark.parametrize("rounds", [1, 3, 300])
def test_the_plan_is_that_of_slow_scaling(rounds):
    scores = np.random.default_rng(0).normal(size=(9, 4))
    expected = slow_plan(scores, rounds)
    h = torch.from_numpy(scores).unsqueeze(0)
    v = column_potentials(h, torch.ones(1, 9, dtype=torch.bool), rounds)
    ratio = torch.from_numpy(expected).log() - h[0] - v[0]  # what is left is a row's own scale
    assert ratio.std(1, correction=0).max() < 1e-9


def test_the_plan_is_even_in_the_end():
    plan = slow_plan(np.random.default_rng(0).normal(size=(9, 4)), 300)
    np.testing.assert_allclose(plan.sum(0), 9 / 4, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(1), 1, rtol=1e-9)


def test_training_spreads_what_all_want_and_eval_does_not():
    torch.manual_seed(0)
    router = identity_router(4, k=1)
    x = torch.randn(400, 4) + torch.tensor([5.0, 0.0, 0.0, 0.0])
    assert router.train()(Items(x)).load.max() < 130  # 100 each would be even
    assert router.eval()(Items(x)).load.tolist()[0] > 395


def test_choices_are_the_largest_of_the_plans_rows():
    torch.manual_seed(0)
    x = torch.randn(12, 5, dtype=torch.float64)
    routing = identity_router(5, k=2, rounds=30).train()(Items(x, groups=2))
    for group in (0, 1):
        plan = slow_plan(x[group * 6 : group * 6 + 6].numpy(), 30)
        for i in range(6):
            item = group * 6 + i
            expected = set(np.argsort(-plan[i])[:2].tolist())
            assert set(routing.expert[routing.item == item].tolist()) == expected


def test_one_weighs_by_sigmoid_more_by_probability():
    x = torch.tensor([[1.0, 3.0, 6.0]]).log()
    one = identity_router(3, k=1).eval()(Items(x))
    torch.testing.assert_close(one.weight, torch.tensor([6 / 7]))  # sigmoid(log 6)
    two = identity_router(3, k=2).eval()(Items(x))
    torch.testing.assert_close(two.weight, torch.tensor([0.6, 0.3]))


@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_logits_of_any_size_stay_finite(size, k, masked):
    torch.manual_seed(0)
    router = identity_router(8, k=k)
    x = (torch.randn(40, 8).clamp(-1, 1) * size).requires_grad_()
    mask = torch.arange(40) % 3 > 0 if masked else None
    for training in (True, False):
        routing = router.train(training)(Items(x, groups=4, mask=mask))
        assert routing.weight.isfinite().all()
        found = torch.autograd.grad(routing.weight.sum(), [x, router.gate.weight])
        assert all(g.isfinite().all() for g in found)


def test_large_logits_are_spread_too():
    """Where ``exp`` overflows the plan is still a plan."""
    torch.manual_seed(0)
    x = torch.randn(64, 4) * 10 + torch.tensor([1e4, 0.0, 0.0, 0.0])
    real = torch.ones(1, 64, dtype=torch.bool)
    v = column_potentials(x.unsqueeze(0), real, 20)
    assert v.isfinite().all()
    load = torch.bincount((x + v[0]).argmax(1), minlength=4)
    assert load.max() < 30  # 16 each would be even


def test_padding_has_no_share():
    torch.manual_seed(0)
    x = torch.randn(6, 3)
    mask = torch.tensor([True, True, True, True, False, False])
    padded = x.clone()
    padded[4:] = 1e4
    router = identity_router(3).train()
    alone = router(Items(x[:4]))
    assert router(Items(padded, mask=mask)).expert.tolist() == alone.expert.tolist()


def test_it_promises_little():
    traits = routers.build("sinkhorn", 3, 3).traits
    assert [traits.per_item, traits.causal, traits.convex] == [False] * 3


def test_rounds_out_of_range():
    with pytest.raises(
        ConfigError, match=r"router\.rounds=0 is invalid: expected an integer in \[1, "
    ):
        routers.build("sinkhorn", 3, 3, rounds=0)
