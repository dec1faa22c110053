"""Shapley values against exact enumeration, and intervals of effects."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest

from tasks.probe.effects import matched_share, mean_effects
from tasks.probe.shapley import coalitions, draw_orders, shapley_values


def game(players, seed):
    """A random value for each coalition."""
    random, known = np.random.default_rng(seed), {}

    def value(present):
        if present not in known:
            known[present] = random.standard_normal()
        return known[present]

    return value


def exact(players, value):
    """The mean over all orders, one after another."""
    total = np.zeros(players)
    for order in permutations(range(players)):
        present = set()
        for player in order:
            before = value(frozenset(present))
            present.add(player)
            total[player] += value(frozenset(present)) - before
    return total / factorial(players)


def test_all_orders_give_the_exact_values():
    value = game(4, seed=1)
    found = shapley_values([*permutations(range(4))], value)
    np.testing.assert_allclose(found.values, exact(4, value), rtol=0, atol=1e-12)


def test_sampled_values_are_near_the_exact_ones_and_intervals_cover_them():
    """95% intervals of 400 values cover as many of them as they should."""
    covered, errors = [], []
    for seed in range(100):
        value = game(4, seed)
        wanted = exact(4, value)
        found = shapley_values(draw_orders(4, 40, seed), value)
        covered += ((found.low <= wanted) & (wanted <= found.high)).tolist()
        errors += np.abs(found.values - wanted).tolist()
        assert found.values.sum() == pytest.approx(value(frozenset(range(4))) - value(frozenset()))
    assert 0.91 <= np.mean(covered) <= 0.99
    assert np.mean(errors) < 0.16  # a value of the game has a standard deviation of 1


def test_orders_come_with_their_reverse():
    orders = draw_orders(5, 6, seed=3)
    assert [sorted(order) for order in orders] == [[0, 1, 2, 3, 4]] * 6
    assert [order[::-1] for order in orders[::2]] == orders[1::2]
    assert len({*orders}) > 2
    assert [len(each) for each in coalitions(orders[0])] == [0, 1, 2, 3, 4, 5]
    assert draw_orders(5, 0) == []


def test_additive_games_have_no_error():
    worth = np.array([3.0, -1.0, 0.5])
    found = shapley_values(draw_orders(3, 4), lambda present: worth[list(present)].sum())
    for each in (found.values, found.low, found.high):
        np.testing.assert_allclose(each, worth)
    assert np.isnan(shapley_values(draw_orders(3, 2), len).low).all()  # one pair


def test_bootstrap_intervals_are_those_of_scipy_and_cover_the_mean():
    from scipy import stats

    random = np.random.default_rng(0)
    values = random.exponential(size=(3, 60)) * [[1.0], [2.0], [5.0]]
    found = mean_effects(values)
    for row, (mean, low, high) in zip(values, found, strict=True):
        wanted = stats.bootstrap(
            (row,), np.mean, n_resamples=20000, method="percentile", rng=1
        ).confidence_interval
        assert mean == pytest.approx(row.mean())
        spread = row.std() / 60**0.5
        assert low == pytest.approx(wanted.low, abs=0.2 * spread)
        assert high == pytest.approx(wanted.high, abs=0.2 * spread)
    assert np.isnan(mean_effects(np.zeros((2, 0)))).all()
    assert np.isnan(mean_effects(np.ones((2, 1)))).tolist() == [[False, True, True]] * 2


def test_the_share_of_matched_effects():
    assert matched_share(np.eye(4)[[2, 0, 3, 1]].tolist()) == 1
    assert matched_share([[1.0, 1.0], [1.0, 1.0]]) == 0.5
    assert matched_share([[0.0, -1.0], [None, 0.0]]) is None
