import math

from hypothesis import given
from hypothesis import strategies as st

from sweeps.statistics.pareto import pareto, pareto_reference

NUMBERS = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, -math.inf, math.nan])
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, st.booleans()), max_size=12)


@given(POINTS, st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_agrees_with_the_definition(points, signs):
    values = [point[:3] for point in points]
    allowed = [point[3] for point in points]
    assert pareto(values, signs, allowed) == pareto_reference(values, signs, allowed)
    assert pareto(values, signs) == pareto_reference(values, signs)


def test_by_hand():
    points = [[1, 9], [2, 5], [3, 5], [4, 1], [5, 2]]
    assert pareto(points, [1, 1]) == [True, True, False, True, False]
    assert pareto(points, [-1, -1]) == [True, False, True, False, True]


def test_equal_points_share_their_fate():
    assert pareto([[1, 1], [1, 1], [2, 0]], [1, 1]) == [True, True, True]
    assert pareto([[1, 1], [1, 1], [1, 0]], [1, 1]) == [False, False, True]


def test_a_point_without_a_number_or_outside_a_constraint_dominates_nothing():
    assert pareto([[0, math.nan], [1, 1]], [1, 1]) == [False, True]
    assert pareto([[0, 0], [1, 1]], [1, 1], [False, True]) == [False, True]


def test_one_objective_leaves_the_best_alone():
    assert pareto([[0.9], [0.95], [0.95]], [-1]) == [False, True, True]


def test_no_points():
    assert pareto([], [1, 1]) == []
