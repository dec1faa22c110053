"""Complete sweeps of seconds, run by the command."""

import json
import shutil

import pytest
from optuna.trial import TrialState

from sweeps import StoppedSweepError
from sweeps.driver.driver import Driver
from sweeps.engines.local import Local

from ..tasks.cases import result_of, untimed
from .cases import ARMS, RUN, confirmed, drawn, intact, states, sweep, trials_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep without interruption."""
    out = tmp_path_factory.mktemp("sweep") / "whole"
    assert sweep(out) == 0
    return out


def test_what_lies_on_disk(whole):
    names = {path.name for path in whole.iterdir()}
    assert {"sweep.yaml", "study.db", "trials", "confirmed", "leaderboard.csv"} <= names
    assert {"leaderboard.md", "leaderboard.tex", "report.html"} <= names
    assert confirmed(whole) == {arm: [1000, 1001] for arm in ARMS}
    runs = {path.relative_to(whole / "trials").as_posix() for path in whole.glob("trials/*/*/*/")}
    expected = {f"{arm}/{number:04d}/seed-0" for arm in ARMS for number in range(2)}
    assert {run for run in runs if run.endswith("seed-0")} == expected
    assert trials_of(whole, ARMS[0])[0].user_attrs["handle"][:2] == ["local", False]
    assert intact(whole)


def test_budgets_are_equal_and_defaults_come_first(whole):
    for arm in ARMS:
        assert states(whole, arm) == [TrialState.COMPLETE] * 2
    assert drawn(whole, "topk")[0][0] == {
        "router.k": 2,
        "router.weighting": "renormalized",
        "optimizer.lr": 0.002,
    }
    assert drawn(whole, "uniform")[0][0] == {"optimizer.lr": 0.002}
    assert drawn(whole, "uniform")[1][0] != drawn(whole, "uniform")[0][0]


def test_the_best_trial_is_confirmed(whole):
    for arm in ARMS:
        about = json.loads((whole / "confirmed" / arm / "arm.json").read_text())
        values = [trial.values[0] for trial in trials_of(whole, arm)]
        assert about["search"] == {"score.value": max(values)}
        assert about["params"] == trials_of(whole, arm)[about["trial"]].params
        assert about["control"] == (arm == "uniform")
        config = (whole / "confirmed" / arm / "seed-1000" / "config.yaml").read_text()
        assert f"lr: {about['params']['optimizer.lr']}" in config
        for setting in (*RUN, f"router={arm}", "seed=1000"):
            assert setting in about["command"].split()


def test_search_sees_validation_only(whole):
    folder = whole / "trials" / "topk" / "0000" / "seed-0"
    score = json.loads((folder / "result.json").read_text())["score"]
    assert score["value"] != score["validation"]  # or this test could not fail
    assert trials_of(whole, "topk")[0].values == [score["validation"]]


def test_again_is_nothing_to_do(whole, capsys, monkeypatch):
    monkeypatch.setattr(Driver, "_start", lambda *_: pytest.fail("a trial started"))
    before = drawn(whole, "topk")
    assert sweep(whole) == 0
    shown = capsys.readouterr().out
    assert "to do" not in shown
    assert "removed" not in shown
    assert drawn(whole, "topk") == before


@pytest.mark.usefixtures("no_report")
def test_a_study_that_is_lost_is_made_again(whole, tmp_path, capsys, monkeypatch):
    """From the results; a power failure may destroy it."""
    monkeypatch.setattr(Local, "start", lambda *_: pytest.fail("a trial started"))
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    study = out / "study.db"
    study.write_bytes(study.read_bytes()[:-4096])
    assert sweep(out) == 2
    assert f"storage={study}: is damaged (" in capsys.readouterr().err
    study.unlink()
    assert sweep(out) == 0
    for name in (*ARMS, "confirmed"):
        assert drawn(out, name) == drawn(whole, name)


@pytest.mark.usefixtures("no_report")
def test_a_finished_sweep_says_what_it_removes(whole, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    assert sweep(out, "checkpoints=none") == 0
    shown = capsys.readouterr().out
    for stage in ("search", "confirmation"):
        assert f"{stage}: removed checkpoints of finished runs, which checkpoints= does" in shown
    assert shown.count("does not keep: 6 runs\n") == 2
    assert not list(out.rglob("checkpoints"))


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("trials=3", "trials: was 2, is 3"),
        ("space.optimizer\\.lr.high=2e-2", "high: was 0.01, is 0.02"),
        ("controls=[random_fixed]", "random_fixed"),
    ],
)
def test_another_sweep_is_refused(whole, capsys, change, shown):
    if "space" in change:
        change = "space={optimizer.lr: {low: 1e-3, high: 2e-2, log: true}}"
    assert sweep(whole, change) == 2
    assert shown in capsys.readouterr().err


@pytest.mark.usefixtures("no_report")
def test_a_sweep_stopped_at_every_trial_has_the_same_results(whole, tmp_path, monkeypatch):
    """One worker suggests the same trials, however often it is stopped."""
    out, arm = tmp_path / "stopped", ARMS[0]
    start = Driver._start

    def once(driver, stage, trial):
        start(driver, stage, trial)
        if not trial.user_attrs.get("stopped"):
            trial.set_user_attr("stopped", True)
            driver.signum = 15

    monkeypatch.setattr(Driver, "_start", once)
    fewer = (f"arms=[{arm}]", "controls=[]", "confirm.seeds=1", "checkpoints=none")
    assert [sweep(out, *fewer) for _ in range(4)] == [143] * 3 + [0]
    assert drawn(out, arm) == drawn(whole, arm)
    one, other = (
        {
            path.relative_to(x): untimed(result_of(path.parent))
            for path in x.glob(f"*/{arm}/**/result.json")
        }
        for x in (whole, out)
    )
    assert len(other) == 3
    assert other.items() <= one.items()
    assert list(whole.glob("**/last.ckpt"))
    assert not list(out.glob("**/last.ckpt"))


def test_two_workers_several_objectives_and_a_joint_study(tmp_path):
    out = tmp_path / "joint"
    code = sweep(
        out,
        "study=joint",
        "workers=2",
        "controls=[]",
        "objectives=[score.value,{metric: load.max_violation, direction: minimize}]",
        "constraints=['compute.flops_per_item >= 1']",
        "sampler=tpe",
        "confirm.seeds=1",
    )
    assert code == 0
    trials = trials_of(out, "joint")
    assert [trial.params["arm"] for trial in trials[:2]] == list(ARMS[:-1])
    assert len(trials) == 4
    assert all(len(trial.values) == 2 and trial.constraints for trial in trials)
    assert set(ARMS[:-1]) <= confirmed(out).keys()


def test_stopped_says_so(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise StoppedSweepError(2)

    monkeypatch.setattr(Driver, "run_all", stop)
    assert sweep(tmp_path / "x") == 130
    assert "run the same command again to continue" in capsys.readouterr().err
