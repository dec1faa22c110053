"""Rungs: who goes on."""

from sweeps.search.halving import among_best, rungs


def test_rungs_end_before_training_does():
    assert rungs(1, 2, 8) == [1, 2, 4]
    assert rungs(3, 3, 3) == []


def test_the_first_have_nobody_to_lose_to():
    assert among_best([9.0], [], factor=2)
    assert among_best([9.0], [[1.0]], factor=3)


def test_one_objective():
    others = [[0.1], [0.2], [0.3]]
    assert among_best([0.15], others, factor=2)
    assert not among_best([0.25], others, factor=2)
    assert among_best([0.05], others, factor=4)
    assert not among_best([0.15], others, factor=4)


def test_several_objectives():
    """By how many trials dominate one: the ends of a front go on."""
    others = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 3.0]]
    assert among_best([0.5, 0.5], others, factor=2)
    assert not among_best([2.5, 2.5], others, factor=2)
