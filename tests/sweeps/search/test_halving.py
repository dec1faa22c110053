"""Rungs: trials that continue."""

from sweeps.search.halving import is_among_best, rungs


def test_rungs_end_before_training_does():
    assert rungs(1, 2, 8) == [1, 2, 4]
    assert rungs(3, 3, 3) == []


def test_the_first_trials_at_a_rung_continue():
    assert is_among_best([9.0], [], factor=2)
    assert is_among_best([9.0], [[1.0]], factor=3)


def test_one_objective():
    others = [[0.1], [0.2], [0.3]]
    assert is_among_best([0.15], others, factor=2)
    assert not is_among_best([0.25], others, factor=2)
    assert is_among_best([0.05], others, factor=4)
    assert not is_among_best([0.15], others, factor=4)


def test_several_objectives():
    """Ranked by the number of dominating trials: the ends of a front continue."""
    others = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 3.0]]
    assert is_among_best([0.5, 0.5], others, factor=2)
    assert not is_among_best([2.5, 2.5], others, factor=2)
