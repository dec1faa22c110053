"""Balance terms against numbers worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

import routers
from routers import ConfigError, Items, Routing, losses
from routers._losses import cv_squared, entropies

LOG2 = math.log(2)


def routing(expert: list[list[int]], e: int, mask: list[bool] | None = None, **extra) -> Routing:
    items = Items(torch.zeros(len(expert), 1), mask=None if mask is None else torch.tensor(mask))
    chosen = torch.tensor(expert)
    weight = torch.full(chosen.shape, 1 / chosen.shape[1])
    return Routing.by_item(items, chosen, weight, e, **extra)


def value(name: str, of: Routing) -> float:
    return losses[name](of).item()


def test_importance():
    # masses 1 and 3: mean 2, variance 1, 1 / 4
    assert value("importance", routing([[0], [1], [1], [1]], 2)) == pytest.approx(0.25)
    assert value("importance", routing([[0, 1]] * 3, 2)) == 0


def test_load():
    assert value("load", routing([[0]], 2, expected_load=torch.tensor([1.0, 3.0]))) == 0.25


def test_load_without_an_estimate_says_what_to_use():
    with pytest.raises(ConfigError, match=r"losses\.load.*losses\.switch.*noisy_topk"):
        losses["load"](routing([[0]], 2))


def test_switch_by_hand():
    # f = (3/4, 1/4), P = (.6, .4): 2 (.45 + .1)
    probs = torch.tensor([[0.6, 0.4]]).repeat(4, 1)
    assert value("switch", routing([[0], [0], [0], [1]], 2, probs=probs)) == pytest.approx(1.1)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_switch_is_one_at_balance_for_any_k(k):
    expert = [[(i + j) % 6 for j in range(k)] for i in range(6)]
    assert value("switch", routing(expert, 6, logits=torch.zeros(6, 6))) == pytest.approx(1)


def test_switch_counts_all_choices():
    # first choices only would give f = (1, 0, 0) and 3 * .5 = 1.5; all give f = (1/2, 1/4, 1/4)
    probs = torch.tensor([[0.5, 0.3, 0.2]] * 2)
    both = routing([[0, 1], [0, 2]], 3, probs=probs)
    assert value("switch", both) == pytest.approx(3 * (0.25 + 0.075 + 0.05))


def test_switch_counts_before_drops():
    probs = torch.tensor([[0.6, 0.4]]).repeat(4, 1)
    full = routing([[0], [0], [0], [1]], 2, probs=probs)
    dropped = full.limit(0.5)
    assert dropped.load.tolist() == [1, 1]
    assert value("switch", dropped) == pytest.approx(1.1)


@pytest.mark.parametrize("name", ["uniform", "expert_choice", "soft_moe", "soft_mixture"])
def test_switch_is_one_for_routers_balanced_by_construction(name):
    router = routers.build(name, 4, 4)
    assert value("switch", router(Items(torch.randn(8, 4)))) == pytest.approx(1)


def test_squared_deviation():
    # mean gate (.75, .25) against (.5, .5): 2 * .0625
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert value("squared_deviation", routing([[0], [0]], 2, probs=probs)) == pytest.approx(0.125)


def test_z():
    # logsumexp of (0, 0) and (log 3, 0): log 2 and log 4 = 2 log 2
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert value("z", routing([[0], [0]], 2, logits=logits)) == pytest.approx(2.5 * LOG2**2)


def test_z_without_logits_says_so():
    with pytest.raises(ConfigError, match=r"losses\.z.*no logits"):
        losses["z"](routing([[0]], 2))


def test_entropy():
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert value("entropy", routing([[0], [0]], 2, probs=probs)) == pytest.approx(LOG2 / 2)


def test_diversity():
    split = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    alike = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert value("diversity", routing([[0], [1]], 2, probs=split)) == pytest.approx(0, abs=1e-6)
    assert value("diversity", routing([[0], [0]], 2, probs=alike)) == pytest.approx(LOG2)


@pytest.mark.parametrize("name", losses.available())
def test_padding_never_counts(name):
    logits = torch.tensor([[0.3, 1.0], [9.0, -9.0], [2.0, 0.0]])
    extra = {"expected_load": torch.tensor([1.0, 1.5])}
    padded = routing([[0], [1], [0]], 2, [True, False, True], logits=logits, **extra)
    plain = routing([[0], [0]], 2, logits=logits[[0, 2]], **extra)
    assert value(name, padded) == pytest.approx(value(name, plain))


@pytest.mark.parametrize("name", losses.available())
def test_no_real_item_gives_a_finite_number(name):
    none = routing(
        [[0], [1]], 2, [False, False], logits=torch.ones(2, 2), expected_load=torch.zeros(2)
    )
    assert math.isfinite(value(name, none))


def test_cv_squared_has_no_gradient_at_balance():
    values = torch.ones(4, requires_grad=True)
    cv_squared(values).backward()
    assert values.grad.tolist() == [0, 0, 0, 0]


def test_cv_squared_of_nothing_is_zero():
    values = torch.zeros(4, requires_grad=True)
    cv_squared(values).backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("name", ["topk", "noisy_topk", "soft_mixture", "expert_choice"])
@pytest.mark.parametrize("loss", ["importance", "switch", "squared_deviation", "diversity", "z"])
def test_zero_gate_gives_finite_gradients(name, loss):
    router = routers.build(name, 4, 4, gate={"name": "linear", "scale": 0.0})
    losses[loss](router(Items(torch.randn(8, 4)))).backward()
    gradients = [p.grad for p in router.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


def test_entropy_has_a_finite_gradient_at_zero():
    probs = torch.tensor([[1.0, 0.0]], requires_grad=True)
    entropies(probs).sum().backward()
    assert probs.grad.isfinite().all()


def test_weights_per_task_are_summed_into_importance():
    weight = torch.tensor([[[0.5, 0.5]], [[1.0, 2.0]]])  # (N, K, T)
    both = Routing.by_item(Items(torch.zeros(2, 1)), torch.tensor([[0], [1]]), weight, 2)
    assert both.importance.tolist() == [1, 3]


def test_losses_keep_nothing():
    one = routing([[0], [0], [0], [1]], 2, probs=torch.tensor([[0.6, 0.4]]).repeat(4, 1))
    assert value("switch", one) == value("switch", replace(one))
