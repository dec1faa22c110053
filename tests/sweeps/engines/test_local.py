"""Processes on this machine, and the GPUs that each one sees."""

import json
import os
import signal
from multiprocessing import forkserver
from unittest.mock import Mock

import pytest

from sweeps import Job
from sweeps.engines.local import Local, run_here


@pytest.fixture
def gpus(monkeypatch):
    """Set how many GPUs torch finds, and which ones this process may use."""

    def choose(count, named=None):
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)
        if named is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        return Local()

    return choose


def test_gpus_are_shared_equally(gpus):
    assert gpus(0).workers(1) == 1
    assert gpus(0)._share(3, 1) is None
    assert gpus(4).workers(1) == 4
    assert [gpus(4)._share(slot, 1) for slot in range(5)] == ["0", "1", "2", "3", "0"]
    assert gpus(5).workers(2) == 2
    assert [gpus(5)._share(slot, 2) for slot in range(3)] == ["0,1", "2,3", "0,1"]
    assert [gpus(2, "GPU-a,7")._share(slot, 1) for slot in range(2)] == ["GPU-a", "7"]


SEES = """\
import os
import torch
assert not torch.cuda.is_initialized()
print("sees GPU", os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


def job(folder, name, *overrides):
    return Job(name, "s", folder, folder / f"{name}.log", [(folder / name, overrides)])


def test_a_fork_server_that_was_killed(tmp_path):
    engine = Local()
    process = Mock(**{"start.side_effect": EOFError("unexpected EOF")})
    engine.context = Mock(Process=lambda **_: process)
    with pytest.raises(OSError, match="the fork server was killed"):
        engine.start(job(tmp_path, "a"), 0)
    assert engine.running == {}


def test_a_job_that_is_asked_twice_is_killed(tmp_path):
    engine, process = Local(), Mock(exitcode=None)
    engine.running["a"] = process
    engine.stop({"name": "a"})
    assert [name for name, *_ in process.method_calls] == ["terminate"]
    engine.stop({"name": "a"})
    assert [name for name, *_ in process.method_calls] == ["terminate", "kill"]


def test_jobs_that_are_asked_to_stop_before_they_train(tmp_path):
    """By a signal to each process of a job: the fork server does not mind."""
    early, process = job(tmp_path, "early"), forkserver._forkserver
    turns = []

    def send():
        if not turns:
            os.kill(process._forkserver_pid, signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR2)
        turns.append(process._forkserver_pid)

    run_here([early], send)
    assert json.loads(early.outcome.read_text())["outcome"] == "stopped"
    assert os.waitpid(turns[0], os.WNOHANG) == (0, 0)


def test_jobs_see_their_own_gpus_end_together_and_deaths_are_noted(tmp_path, monkeypatch):
    """As in a job of a cluster: two fail, one is killed before it writes anything."""
    monkeypatch.setattr("sweeps.engines.local.visible_gpus", lambda: ["0", "1", "2"])
    (tmp_path / "sees.py").write_text(SEES)
    monkeypatch.syspath_prepend(tmp_path)
    failing = [job(tmp_path, name, "plugins=[sees]", "router=topp") for name in ("one", "other")]
    dying = job(tmp_path, "dying")
    dying.outcome.write_text('{"outcome": "stopped", "message": "by a former attempt"}')
    before = signal.getsignal(signal.SIGTERM)
    start = Local.start

    def start_and_kill(engine, job, slot):
        handle = start(engine, job, slot)
        if job is dying:
            engine.running[job.name].kill()
        return handle

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Local, "start", start_and_kill)
        run_here([*failing, dying])
    assert [each.log.read_text().partition("GPU ")[2][:1] for each in failing] == ["0", "1"]
    for each in failing:
        noted = json.loads(each.outcome.read_text())
        assert (noted["outcome"], noted["message"][:26]) == ("failed", "router=topp: unknown; did ")
    killed = "killed by SIGKILL; out of memory, perhaps"
    assert json.loads(dying.outcome.read_text()) == {"outcome": "died", "message": killed}
    assert signal.getsignal(signal.SIGTERM) == before
