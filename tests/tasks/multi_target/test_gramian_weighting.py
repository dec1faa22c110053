"""Weightings by gradients, compared with their papers' formulas in slow NumPy."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from routers import ConfigError
from tasks.multi_target.targets import Target
from tasks.multi_target.weightings import WEIGHTINGS

from ..readers.test_extras import hide

RULES = ("upgrad", "dualproj", "pcgrad", "imtl_g", "aligned_mtl", "fairgrad", "random", "cagrad")


def rule(name, tasks, **options):
    return WEIGHTINGS.build(name, [Target(f"t{t}", "binary") for t in range(tasks)], **options)


def gradients(tasks, seed, width=6):
    """Rows of different lengths, many of which oppose each other."""
    rows = np.random.default_rng(seed).standard_normal((tasks, width))
    rows -= 1.2 * rows.mean(0)
    return rows * 10.0 ** np.linspace(-1, 1, tasks)[:, None]


def weights(name, rows, **options):
    rows = torch.from_numpy(rows)
    return rule(name, len(rows), **options).weights(rows @ rows.t()).numpy()


CASES = [(tasks, seed) for tasks in (2, 3, 5) for seed in range(4)]


@pytest.mark.parametrize(("tasks", "seed"), CASES)
def test_projections_on_the_dual_cone(tasks, seed):
    """UPGrad projects every gradient, DualProj their mean, to ``{d: J d >= 0}``."""
    rows = gradients(tasks, seed)

    def projected(vector):
        found = minimize(
            lambda d: ((d - vector) ** 2).sum(),
            vector,
            jac=lambda d: 2 * (d - vector),
            constraints={"type": "ineq", "fun": lambda d: rows @ d, "jac": lambda d: rows},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        return found.x

    near = {"rtol": 1e-5, "atol": 1e-5 * np.linalg.norm(rows)}
    mean = np.mean([projected(row) for row in rows], 0)
    np.testing.assert_allclose(weights("upgrad", rows) @ rows, mean, **near)
    wanted = projected(rows.mean(0))
    np.testing.assert_allclose(weights("dualproj", rows) @ rows, wanted, **near)


@pytest.mark.parametrize(("tasks", "seed"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_pcgrad_is_one_of_all_orders(tasks, seed):
    """Algorithm 1 on the vectors; the order of the others is random, for each gradient its own."""
    rows = gradients(tasks, seed)

    def projected(own, order):
        vector = rows[own].copy()
        for other in order:
            if (along := vector @ rows[other]) < 0:
                vector -= along / (rows[other] @ rows[other]) * rows[other]
        return vector

    others = [[t for t in range(tasks) if t != own] for own in range(tasks)]
    ways = itertools.product(*(itertools.permutations(each) for each in others))
    wanted = [sum(projected(t, order) for t, order in enumerate(way)) for way in ways]
    found = weights("pcgrad", rows) @ rows
    assert min(np.abs(found - each).max() for each in wanted) < 1e-9
    assert max(np.abs(rows.sum(0) - each).max() for each in wanted) > 1e-3  # some oppose


@pytest.mark.parametrize(("tasks", "seed"), CASES)
def test_imtl_g_by_its_closed_form(tasks, seed):
    """Weights of all but the first are ``g1 U' (D U')^-1``, the first has the rest to 1."""
    rows = gradients(tasks, seed)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    far, apart = rows[:1] - rows[1:], unit[:1] - unit[1:]
    others = rows[0] @ apart.T @ np.linalg.inv(far @ apart.T)
    wanted = np.concatenate([[1 - others.sum()], others])
    np.testing.assert_allclose(weights("imtl_g", rows), wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_aligned_mtl_by_singular_values(scale):
    """The mean of the rows of ``sigma U V'``, for gradients ``U S V'``."""
    rows = gradients(3, 1)
    left, lengths, right = np.linalg.svd(rows, full_matrices=False)
    sigma = {
        "min": lengths[-1],
        "median": np.median(lengths),
        "rmse": math.sqrt((lengths**2).mean()),
    }
    found = weights("aligned_mtl", rows, scale=scale) @ rows
    np.testing.assert_allclose(found, sigma[scale] * (left @ right).mean(0), rtol=1e-8)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("length", [1e-4, 1.0, 1e4])
def test_fairgrad_and_nash_solve_their_equation(alpha, length):
    """``G a = a^(-1/alpha)``; with alpha 1 that of Nash-MTL, whatever the gradients' length.

    torchjd stops its least squares before the smallest entries are exact, so the norm is compared.
    """
    for tasks, seed in CASES:
        rows = gradients(tasks, seed) * length
        found = weights("fairgrad", rows, alpha=alpha)
        assert (found > 0).all()
        power = found ** (-1 / alpha)
        assert np.linalg.norm(rows @ rows.T @ found - power) < 1e-3 * np.linalg.norm(power)


@pytest.mark.parametrize("c", [0.0, 0.4, 1.5])
def test_cagrad_against_a_grid(c):
    """The best point of a fine grid over convex combinations gives the same direction."""
    shares = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
    for seed in range(4):
        rows = gradients(3, seed)
        mean = rows.mean(0)
        size, length = np.linalg.norm(mean), np.linalg.norm(shares @ rows, axis=1)
        values = shares @ rows @ mean + c * size * length
        found = weights("cagrad", rows, c=c)
        near = found - 1 / 3
        assert c or not near.any()
        if c:
            best = near / near.sum()
            assert (best >= -1e-9).all()
            value = best @ rows @ mean + c * size * np.linalg.norm(best @ rows)
            assert value <= values.min() + 1e-6 * size**2
            assert np.linalg.norm(near @ rows) == pytest.approx(c * size)  # |d - g0|


def test_random_weights_are_drawn_anew():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, other = (weights("random", gradients(3, 0)) for _ in range(2))
        torch.manual_seed(0)
        draws = torch.randn(3, dtype=torch.float64)
    assert one.sum() == pytest.approx(1)
    assert not np.allclose(one, other)
    np.testing.assert_allclose(one, draws.softmax(0))


@pytest.mark.parametrize("name", RULES)
def test_odd_gradients(name):
    """Zero, equal, opposite and single gradients have finite weights; what is not finite a mean."""
    row = np.array([[1.0, -2.0, 0.5]])
    for rows in (np.zeros((3, 3)), row, row.repeat(3, 0), np.concatenate([row, -row, 0 * row])):
        assert np.isfinite(weights(name, rows)).all()
    shared = torch.ones(2, requires_grad=True)
    losses = torch.stack([shared.sum(), (shared - 1).sqrt().sum()])  # the slope is infinite
    assert rule(name, 2)(losses, shared).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cagrad", {"c": -0.1}, "weighting.c=-0.1 is invalid: expected a finite number >= 0"),
        ("fairgrad", {"alpha": 0}, "weighting.alpha=0 is invalid: expected a finite number > 0"),
        ("aligned_mtl", {"scale": "max"}, "weighting.scale=max: unknown"),
        ("upgrad", {"c": 1}, "weighting.c: unknown"),
    ],
)
def test_invalid_options(name, options, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        rule(name, 2, **options)


def test_without_the_extra(monkeypatch):
    hide(monkeypatch, "torchjd")
    with pytest.raises(
        ConfigError, match=r"needs torchjd; pip install 'switchyard-moe\[torchjd\]'"
    ):
        rule("pcgrad", 2)
    assert rule("cagrad", 2)
