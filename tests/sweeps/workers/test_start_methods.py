"""Trials start by the fork server, or by spawn on systems where forking is missing or unsafe."""

import multiprocessing
import os
import signal
from multiprocessing import resource_tracker

import pytest

from sweeps.workers.forkserver import trial_context, warm_up
from sweeps.workers.job import FAILED, Job, read_outcome, work


@pytest.mark.parametrize(
    ("methods", "chosen"),
    [
        (["fork", "spawn", "forkserver"], "forkserver"),  # Linux
        (["forkserver", "spawn", "fork"], "forkserver"),  # Linux from Python 3.14 on
        (["spawn", "fork", "forkserver"], "spawn"),  # macOS
        (["spawn"], "spawn"),  # Windows
        (["fork", "spawn"], "spawn"),
    ],
)
def test_the_method_of_a_system(monkeypatch, methods, chosen):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)
    assert trial_context().get_start_method() == chosen


def test_a_resource_tracker_that_was_killed():
    """It is started again, silently: warnings are errors here."""
    warm_up()
    process = resource_tracker._resource_tracker._pid
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    warm_up()
    assert resource_tracker._resource_tracker._pid not in (None, process)


def test_a_trial_that_is_spawned(monkeypatch, tmp_path):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    warm_up()
    context = trial_context()
    runs = [(tmp_path / "run", ["router=topp"])]
    job = Job("job", "sweep", tmp_path, tmp_path / "job.log", runs)
    process = context.Process(target=work, args=(job, None))
    process.start()
    process.join()
    kind, message = read_outcome(job.outcome)
    assert (kind, process.exitcode) == (FAILED, 0)
    assert message.startswith("router=topp: unknown")
