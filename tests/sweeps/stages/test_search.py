"""Search stage: pruning, early end of an arm, and invalid scores."""

import json
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from routers import ConfigError
from sweeps import compose, make_plan, open_storage
from sweeps.stages.confirmation import select_candidates
from sweeps.stages.search import SearchStage, run_overrides, search_stages

from ..cases import TINY, confirmed, states, sweep, trials_of


@pytest.mark.usefixtures("no_report")
def test_losers_at_a_rung_stop(tmp_path):
    """With several objectives; ``test_devices`` has one."""
    out = tmp_path / "x"
    code = sweep(
        out,
        "run=[task=digits,task.model.dim=16,task.model.depth=2,expert.hidden=16,"
        "trainer.max_epochs=3]",
        "sampler=grid",
        "space={optimizer.lr: [2e-3, 1e-9], router.k: null, router.weighting: null}",
        "arms=[topk]",
        "controls=[]",
        "pruner={name: halving, first: 1, factor: 2}",
        "objectives=[score.value,{metric: load.max_violation, direction: minimize}]",
        "confirm.seeds=1",
    )
    assert code == 0
    assert states(out, "topk") == [TrialState.COMPLETE, TrialState.PRUNED]
    reached = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((out / "trials" / "topk").glob("*/seed-0/rungs.jsonl"))
    ]
    assert [[epoch for epoch, _ in each] for each in reached] == [[1, 2], [1]]
    assert {*reached[0][0][1]} == {"load.max_violation", "score.value"}
    assert confirmed(out) == {"topk": [1000]}
    assert json.loads((out / "confirmed" / "topk" / "arm.json").read_text())["trial"] == 0


@pytest.mark.usefixtures("no_report")
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
    with _stage(out) as stage:
        trial = stage.queue.claim()
        stage.suggest(trial)
        for folder, _ in stage.job(trial).runs:
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps({"score": {"validation": None}}))
        assert "not a number" in stage.finish(trial)
    (first, *_) = trials_of(out, "topk")
    assert first.state.name == "FAIL"
    assert "score.value" in first.user_attrs["error"]


def test_overrides_in_the_storage_are_not_read(tmp_path):
    """Write access to the storage does not choose which code runs."""
    with _stage(tmp_path / "x") as stage:
        trial = stage.queue.claim()
        stage.suggest(trial)
        expected = list(trial.user_attrs["overrides"])
        assert expected[0] == "router=topk"
        trial.set_user_attr("overrides", ["plugins=[evil]"])
        ((_, overrides),) = stage.job(trial).runs
        stage.queue.tell(trial, TrialState.COMPLETE, [0.9])
        (candidate,) = select_candidates(stage.plan, [stage])
    assert candidate.overrides == expected
    assert overrides[len(stage.plan.config.run) :][: len(expected)] == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plugins": "[evil]"}, "differ from the search space in plugins"),
        ({"router.k": "2, plugins=[evil]"}, "router.k=2, plugins=.evil. is invalid: expected"),
        ({"optimizer.lr": 5.0}, "optimizer.lr=5.0 is invalid"),
        ({"optimizer.lr": None}, "differ from the search space in optimizer.lr"),
        ({"arm": "evil"}, "arm='evil': not an arm"),
    ],
)
def test_parameters_outside_of_the_space_are_refused(tmp_path, changes, words):
    with _stage(tmp_path / "x") as stage:
        params = {**{each.name: each.default for each in stage.space}, **changes}
        params = {name: value for name, value in params.items() if value is not None}
        choices = {name: CategoricalDistribution([value]) for name, value in params.items()}
        foreign = create_trial(state=TrialState.RUNNING, params=params, distributions=choices)
        with pytest.raises(
            ConfigError, match=rf"storage: trial .* is not of this sweep: .*{words}"
        ):
            stage.job(foreign)


def test_a_study_older_than_its_trials(tmp_path):
    with _stage(tmp_path / "x") as stage:
        trial = stage.queue.claim()
        stage.suggest(trial)
        (stage.folder(trial) / "params.json").write_text('{"optimizer.lr": 0.5}')
        with pytest.raises(ConfigError, match="is older than the folder of its trial 0; move it"):
            stage.suggest(trial)


@pytest.mark.parametrize(("kept", "left"), [("none", [4]), ("best", [1, 4]), ("all", range(7))])
def test_checkpoints_are_kept_by_choice(tmp_path, kept, left):
    """Of trials that completed or were pruned; the others may resume, or be looked at."""
    with _stage(tmp_path / "x", "trials=7", f"checkpoints={kept}") as stage:
        ends = [0.5, 0.9, 0.7, TrialState.PRUNED, TrialState.FAIL, 0.9, 0.6]
        for end in ends:
            trial = stage.queue.claim()
            stage.suggest(trial)
            (folder,) = stage.run_dirs(trial)
            (folder / "checkpoints").mkdir(parents=True)
            (folder / "checkpoints" / "last.ckpt").touch()
            if isinstance(end, float):
                (folder / "result.json").write_text(json.dumps({"score": {"validation": end}}))
                stage.finish(trial)
            elif trial.number:
                stage.queue.tell(trial, end)
            stage.drop_checkpoints(trial.number)
        paths = (tmp_path / "x" / "trials" / "topk").glob("*/seed-0/checkpoints/last.ckpt")
        assert sorted(int(path.parents[2].name) for path in paths) == [*left]


def test_the_end_of_a_trial_concerns_only_the_one_that_it_replaces(tmp_path, monkeypatch):
    """Or a sweep of many trials would look at all folders each time."""
    with _stage(tmp_path / "x", "trials=5", "checkpoints=best") as stage:
        looked_at, run_dirs = set(), stage.run_dirs
        monkeypatch.setattr(
            stage, "run_dirs", lambda trial: looked_at.add(trial.number) or run_dirs(trial)
        )
        seen = []
        for value in (0.5, 0.6, 0.4, 0.7, 0.1):
            trial = stage.queue.claim()
            stage.suggest(trial)
            stage.queue.tell(trial, TrialState.COMPLETE, [value])
            looked_at.clear()
            stage.drop_checkpoints(trial.number)
            seen.append({*looked_at})
        assert seen == [set(), {0}, {2}, {1}, {4}]
        stage.drop_checkpoints()
        assert looked_at == {0, 1, 2, 4}


@contextmanager
def _stage(out, *arguments):
    """The search of a sweep of one arm that has not started."""
    plan = make_plan(compose([*TINY, f"out={out}", "arms=[topk]", "controls=[]", *arguments]))
    out.mkdir()
    with open_storage(None, out) as storage:
        (stage,) = search_stages(plan, storage)
        yield stage


def _finished(stage):
    return [trial for trial in stage.queue.trials() if trial.state.is_finished()]


def threads_of_a_run():
    """The threads of each of two runs at a time."""
    config = SimpleNamespace(threads=None, run=[])
    plan = SimpleNamespace(config=config, workers=2, engine=SimpleNamespace(cpus=None))
    arm = SimpleNamespace(run=SimpleNamespace(trainer=SimpleNamespace(threads=None)))
    (threads,) = [
        int(text.partition("=")[2])
        for text in run_overrides(plan, arm, [], 0)
        if text.startswith("trainer.threads=")
    ]
    return threads


def test_runs_share_the_cpus_of_the_process(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert threads_of_a_run() == 1
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "8")  # joblib warns on a Linux without affinity
    monkeypatch.delattr(os, "sched_getaffinity")
    assert 1 <= threads_of_a_run() <= 4
