"""Search stage: pruning, early end of an arm, and invalid scores."""

import json
from contextlib import nullcontext

import pytest
from optuna.trial import TrialState

from sweeps import compose, make_plan, open_storage
from sweeps.stages.search import SearchStage, search_stages

from ..cases import TINY, confirmed, states, sweep, trials_of

OBJECTIVES = {
    "one": "objectives=[score.value]",
    "several": "objectives=[score.value,{metric: load.max_violation, direction: minimize}]",
}


@pytest.mark.parametrize("objectives", OBJECTIVES.values(), ids=OBJECTIVES)
def test_losers_at_a_rung_stop(tmp_path, monkeypatch, objectives):
    asked = []

    def only_the_first(stage, trial, epoch, values):
        asked.append((trial.number, epoch, sorted(values)))
        return trial.number == 0

    monkeypatch.setattr(SearchStage, "should_continue", only_the_first)
    out = tmp_path / "x"
    code = sweep(
        out,
        "run=[task=digits,task.model.dim=16,task.model.depth=2,expert.hidden=16,trainer.batch_size=512,"
        "trainer.max_epochs=3]",
        "arms=[topk]",
        "controls=[]",
        "pruner={name: halving, first: 1, factor: 2}",
        objectives,
    )
    assert code == 0
    assert states(out, "topk") == [TrialState.COMPLETE, TrialState.PRUNED]
    metrics = ["load.max_violation"] * (_kind(objectives) == "several") + ["score.value"]
    assert asked == [(0, 1, metrics), (0, 2, metrics), (1, 1, metrics)]
    assert confirmed(out) == {"topk": [1000, 1001]}
    assert json.loads((out / "confirmed" / "topk" / "arm.json").read_text())["trial"] == 0


def test_an_arm_ends_when_nothing_gets_better(tmp_path, monkeypatch):
    monkeypatch.setattr(SearchStage, "since_better", lambda stage: len(_finished(stage)))
    out = tmp_path / "x"
    code = sweep(out, "arms=[topk]", "controls=[]", "trials=5", "patience=2", "confirm.seeds=1")
    assert code == 0
    ended = [trial.number for trial in trials_of(out, "topk") if trial.state.is_finished()]
    assert ended == [0, 1]
    assert confirmed(out) == {"topk": [1000]}


def test_a_score_that_is_not_a_number(tmp_path):
    """NaN is null in JSON, which is not a value of a trial."""
    out = tmp_path / "x"
    plan = make_plan(compose([*TINY, f"out={out}", "arms=[topk]", "controls=[]"]))
    out.mkdir()
    with open_storage(None, out) as storage:
        (stage,) = search_stages(plan, storage, nullcontext)
        trial = stage.queue.claim()
        stage.suggest(trial)
        for folder, _ in stage.job(trial).runs:
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps({"score": {"validation": None}}))
        assert "not a number" in stage.finish(trial)
    (first, *_) = trials_of(out, "topk")
    assert first.state.name == "FAIL"
    assert "score.value" in first.user_attrs["error"]


def _finished(stage):
    return [trial for trial in stage.queue.trials() if trial.state.is_finished()]


def _kind(objectives):
    return next(name for name, text in OBJECTIVES.items() if text == objectives)
