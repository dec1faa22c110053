"""Rungs: trials compared by files."""

import math

import pytest

from sweeps.search.rungs import Rungs


@pytest.fixture
def runs(tmp_path):
    """Folders of the first runs of four trials, the last one of another arm."""
    names = ["a/0000/seed-0", "a/0001/seed-0", "a/0002/seed-0", "b/0003/seed-0"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def rungs(runs, *arms, signs=None):
    folders = [runs[0].parents[2] / arm for arm in arms or ("a",)]
    return Rungs([1, 3], signs or {"score.value": -1}, "halving", 2, folders)


def test_losers_at_a_rung_stop(runs):
    each = rungs(runs)
    assert each.should_continue(runs[0], 1, {"score.value": 0.5})
    assert not each.should_continue(runs[1], 1, {"score.value": 0.4})
    assert each.should_continue(runs[2], 1, {"score.value": 0.6})
    for run, value in zip(runs[:2], (0.5, 0.0), strict=True):
        assert each.should_continue(run, 2, {"score.value": value})  # no rung
    assert each.should_continue(runs[1], 3, {"score.value": 0.0})  # the first there


def test_only_folders_of_the_study_count(runs):
    assert rungs(runs).should_continue(runs[3], 1, {"score.value": 0.9})
    assert rungs(runs).should_continue(runs[0], 1, {"score.value": 0.5})
    assert not rungs(runs, "a", "b").should_continue(runs[1], 1, {"score.value": 0.7})


def test_a_resumed_run_reaches_a_rung_again(runs):
    each = rungs(runs)
    for value in (0.9, 0.1):
        assert each.should_continue(runs[0], 1, {"score.value": value})  # not compared with itself
    assert each.should_continue(runs[1], 1, {"score.value": 0.5})


def test_a_line_that_is_being_written_does_not_count(runs):
    (runs[0] / "rungs.jsonl").write_text('[1, {"score.value": 0.9')
    assert rungs(runs).should_continue(runs[1], 1, {"score.value": 0.5})


def test_several_objectives(runs):
    each = rungs(runs, signs={"score.value": -1, "load.cv": 1})
    assert each.should_continue(runs[0], 1, {"score.value": 0.5, "load.cv": 0.5, "more": 1.0})
    assert not each.should_continue(runs[1], 1, {"score.value": 0.4, "load.cv": 0.6})
    assert each.should_continue(runs[2], 1, {"score.value": 0.4, "load.cv": 0.1})


def test_a_score_that_is_not_a_number_continues(runs):
    each = rungs(runs)
    assert each.should_continue(runs[0], 1, {"score.value": 0.5})
    assert each.should_continue(runs[1], 1, {"score.value": math.nan})
