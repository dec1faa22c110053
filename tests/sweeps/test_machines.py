"""One sweep on two machines that share a storage but no folder."""

import os
import signal
import subprocess
import sys
import time

from optuna.trial import TrialState

from sweeps import open_storage
from sweeps.workers.queue import Queue

from .cases import ARMS, TINY, confirmed, sweep

HOST_ID_VARIABLE = "SWITCHYARD_MACHINE"


def on_machine(name, out, *more):
    """The command on a machine of another name."""
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *TINY, f"out={out}", *more],
        stdout=subprocess.DEVNULL,
        env={**os.environ, HOST_ID_VARIABLE: name},
    )


def all_trials(url):
    """Of every study, by its name."""
    with open_storage(url, None) as storage:
        return {
            study.study_name: storage.get_all_trials(study._study_id)
            for study in storage.get_all_studies()
            if not study.study_name.endswith("/lock")
        }


def hosts(trials):
    """Machines that have or had a trial."""
    claims = [trial.user_attrs.get("claim") for study in trials.values() for trial in study]
    return {claim["host"] for claim in claims if claim}


def results(out):
    """The text of every run's result, by path."""
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("result.json")}


def test_two_machines_with_a_folder_each_write_the_same_results(tmp_path, proxied, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    arms = (ARMS[0], ARMS[-1])
    more = (f"storage={proxied}", "confirm.seeds=1", f"arms=[{arms[0]}]")
    helper = on_machine("helper", other, *more)
    monkeypatch.setenv(HOST_ID_VARIABLE, "main")
    claim = Queue.claim

    def claim_and_wait(queue):
        """Claim a trial and wait, so that each machine has one, however fast the other is."""
        trial = claim(queue)
        while helper.poll() is None and "helper" not in hosts(all_trials(proxied)):
            time.sleep(0.05)
        return trial

    monkeypatch.setattr(Queue, "claim", claim_and_wait)
    assert sweep(one, *more) == 0
    assert helper.wait() == 0
    trials = all_trials(proxied)
    assert [len(trials[f"sweep/{arm}"]) for arm in arms] == [2, 2]
    assert len(trials["sweep/confirmed"]) == 2
    every = [trial for study in trials.values() for trial in study]
    assert {trial.state for trial in every} == {TrialState.COMPLETE}
    assert hosts(trials) == {"helper", "main"}
    assert len(results(one)) == 6
    assert results(one) == results(other)
    assert confirmed(one) == confirmed(other) == {arm: [1000] for arm in arms}
    for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.tex"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert (one / "report.html").exists()
    assert (other / "report.html").exists()


def test_a_dead_machine_s_trials_are_done_by_another(tmp_path, database, monkeypatch):
    """It is killed while it trains; its processes are not visible here."""
    monkeypatch.setattr("sweeps.storage.liveness.GRACE_SECONDS", 3.0)
    more = (
        "sweep=tiny",  # another name in the same database
        f"storage={database}",
        "arms=[topk]",
        "controls=[]",
        "confirm.seeds=1",
        "run=[task=digits,task.model.dim=16,task.model.depth=2,expert.hidden=16,trainer.max_steps=40]",
    )
    dying = on_machine("dying", tmp_path / "dying", *more)
    running = []
    deadline = time.monotonic() + 240  # only so that a hang ends
    while not running and time.monotonic() < deadline:
        time.sleep(0.1)
        running = [
            t for t in all_trials(database).get("tiny/topk", []) if t.state == TrialState.RUNNING
        ]
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait()
    monkeypatch.setenv(HOST_ID_VARIABLE, "living")
    assert sweep(tmp_path / "living", *more) == 0
    trials = all_trials(database)["tiny/topk"]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[running[0].number].user_attrs["claim"]["host"] == "living"
    assert confirmed(tmp_path / "living") == {"topk": [1000]}


def test_a_sweep_without_a_shared_storage_uploads_nothing(tmp_path):
    out = tmp_path / "x"
    assert sweep(out, "arms=[topk]", "controls=[]", "trials=1", "confirm.seeds=1", "space={}") == 0
    every = [t for study in all_trials(f"sqlite:///{out}/study.db").values() for t in study]
    assert len(every) == 2
    assert not [key for trial in every for key in trial.user_attrs if key.startswith("files")]
