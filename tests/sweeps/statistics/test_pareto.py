"""Pareto fronts, compared with the definition."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeps.statistics import pareto_front

NUMBERS = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, -math.inf, math.nan])
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, st.booleans()), max_size=12)


def pareto_reference(values: np.ndarray, signs: Sequence[float], allowed: Sequence[bool]):
    """The front by its definition, one pair at a time."""
    costs = np.asarray(values, dtype=np.float64).reshape(-1, len(signs)) * np.asarray(signs)
    usable = [bool(ok) and not np.isnan(c).any() for ok, c in zip(allowed, costs, strict=True)]

    def dominates(one: int, other: int) -> bool:
        both = list(zip(costs[one], costs[other], strict=True))
        return usable[one] and all(a <= b for a, b in both) and any(a < b for a, b in both)

    points = range(len(costs))
    return [usable[a] and not any(dominates(b, a) for b in points) for a in points]


@given(POINTS, st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_agrees_with_the_definition(points, signs):
    values = [point[:3] for point in points]
    allowed = [point[3] for point in points]
    assert pareto_front(values, signs, allowed) == pareto_reference(values, signs, allowed)
    assert pareto_front(values, signs) == pareto_reference(values, signs, [True] * len(points))


def test_by_hand():
    points = [[1, 9], [2, 5], [3, 5], [4, 1], [5, 2]]
    assert pareto_front(points, [1, 1]) == [True, True, False, True, False]
    assert pareto_front(points, [-1, -1]) == [True, False, True, False, True]


def test_equal_points_are_on_the_front_together():
    assert pareto_front([[1, 1], [1, 1], [2, 0]], [1, 1]) == [True, True, True]
    assert pareto_front([[1, 1], [1, 1], [1, 0]], [1, 1]) == [False, False, True]


def test_a_point_without_a_number_or_outside_a_constraint_dominates_nothing():
    assert pareto_front([[0, math.nan], [1, 1]], [1, 1]) == [False, True]
    assert pareto_front([[0, 0], [1, 1]], [1, 1], [False, True]) == [False, True]


def test_one_objective_leaves_the_best_alone():
    assert pareto_front([[0.9], [0.95], [0.95]], [-1]) == [False, True, True]


def test_no_points():
    assert pareto_front([], [1, 1]) == []
