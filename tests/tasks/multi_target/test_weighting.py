"""How losses become one: against slow references and by hand."""

import math

import pytest
import torch
from scipy.optimize import minimize

from tasks.multi_target.targets import Target
from tasks.multi_target.weightings import WEIGHTINGS
from tasks.multi_target.weightings.mgda import min_norm_weights

TARGETS = (Target("a", "binary"), Target("b", "number"), Target("c", "classes", ("x", "y", "z")))


def problem(seed=0):
    """A representation and three losses of it that pull in different directions."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    shared = base * 2
    goals = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    losses = torch.stack([(shared - goal).square().mean() for goal in goals])
    return base, shared, goals, losses


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_same_without_gradients_as_the_mean(name):
    """What is learnt starts neutral; what needs gradients does without them."""
    weighting = WEIGHTINGS[name](TARGETS[:1] * 3).double()
    _, shared, _, losses = problem()
    with torch.no_grad():
        found = weighting(losses, shared)
    assert found.item() == pytest.approx(losses.mean().item(), rel=1e-12)


def test_uncertainty_by_hand():
    weighting = WEIGHTINGS["uncertainty"](TARGETS).double()
    noise = [0.3, -0.7, 1.1]
    weighting.log_variance.data = torch.tensor(noise, dtype=torch.float64)
    found = weighting(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), torch.zeros(1))
    # a and c are cross-entropies, b is a squared error, whose log-likelihood has a half
    terms = [
        1.0 * math.exp(-0.3) + 0.15,
        0.5 * 2.0 * math.exp(0.7) - 0.35,
        3.0 * math.exp(-1.1) + 0.55,
    ]
    assert found.item() == pytest.approx(sum(terms) / 3, rel=1e-12)


def test_uncertainty_learns_the_noise():
    """At the best noise of a squared error, its variance is the error: exp(s) = L."""
    weighting = WEIGHTINGS["uncertainty"]((Target("b", "number"),)).double()
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        weighting(torch.tensor([0.25], dtype=torch.float64), torch.zeros(1)).backward()
        optimizer.step()
    assert weighting.log_variance.exp().item() == pytest.approx(0.25, rel=1e-6)


def shortest(gram):
    """The same minimum from a general solver, from every corner."""
    t = len(gram)
    starts = [*torch.eye(t, dtype=torch.float64), torch.full((t,), 1 / t, dtype=torch.float64)]
    found = [
        minimize(
            lambda a: a @ gram.numpy() @ a,
            start.numpy(),
            jac=lambda a: 2 * gram.numpy() @ a,
            method="SLSQP",
            bounds=[(0, 1)] * t,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": lambda a: a * 0 + 1},
            options={"ftol": 1e-14, "maxiter": 500},
        ).fun
        for start in starts
    ]
    return min(found)


@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("seed", range(4))
def test_min_norm_against_a_general_solver(tasks, seed):
    generator = torch.Generator().manual_seed(seed)
    width = 3 if seed % 2 else 40  # fewer dimensions than vectors, and more
    scale = 10 ** torch.linspace(0, seed / 2, tasks, dtype=torch.float64).unsqueeze(1)
    vectors = torch.randn(tasks, width, generator=generator, dtype=torch.float64) * scale
    vectors = vectors + seed % 3  # some share a direction
    gram = vectors @ vectors.t()
    weights = min_norm_weights(gram)
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    tolerance = 1e-4 * gram.diagonal().min().item()
    assert (weights @ gram @ weights).item() <= shortest(gram) + tolerance


def test_min_norm_of_two_by_formula():
    """Sener and Koltun 2018, equation 5: ((b - a)' b / |a - b|^2) cut to 0 … 1."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        a, b = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        pair = torch.stack([a, b])
        first = (((b - a) @ b) / (a - b).square().sum()).clamp(0, 1)
        found = min_norm_weights(pair @ pair.t())
        torch.testing.assert_close(found, torch.stack([first, 1 - first]))


def test_mgda_weighs_by_the_gradients_at_the_shared_representation():
    base, shared, goals, losses = problem()
    loss = WEIGHTINGS["mgda"](TARGETS)(losses, shared)
    gradients = (2 * (shared - goals) / shared.numel()).detach().flatten(1)  # by hand
    weights = min_norm_weights(gradients @ gradients.t())
    assert loss.item() == pytest.approx((weights @ losses).item(), rel=1e-12)
    (found,) = torch.autograd.grad(loss, base)
    torch.testing.assert_close(found, 2 * (weights @ gradients).view(5, 4))


def test_mgda_makes_no_target_worse():
    """The common direction has a positive part along every target's own gradient."""
    _, shared, goals, losses = problem(4)
    (common,) = torch.autograd.grad(WEIGHTINGS["mgda"](TARGETS)(losses, shared), shared)
    own = 2 * (shared - goals) / shared.numel()
    along = (own * common).sum((1, 2))
    assert (along >= common.square().sum() - 1e-9).all()


def test_mgda_of_targets_that_share_nothing():
    """A loss that does not depend on the representation has a gradient of zero there."""
    _, shared, _, losses = problem()
    alone = torch.tensor(2.0, dtype=torch.float64, requires_grad=True).square()
    found = WEIGHTINGS["mgda"](TARGETS)(torch.stack([losses[0], alone]), shared)
    assert found.item() == pytest.approx(4.0)  # all weight on the zero gradient
