"""Real processes, stopped in real ways; each start costs seconds, so there are few."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks import main

from ..cases import NARROW, TINY, assert_same_run, checkpoint_of, train

LONG = ("trainer.batch_size=16", "trainer.max_epochs=2", "trainer.max_steps=-1")
ROOT = Path(__file__).parents[3]


def start(out, *arguments):
    """A separate ``python -m tasks`` process that has written its first checkpoint."""
    command = [sys.executable, "-m", "tasks", *TINY, NARROW, f"out={out}", *LONG, *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out, *LONG)
    return out


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_asked_to_stop(uninterrupted, tmp_path, signum, code):
    out = tmp_path / "run"
    process = start(out)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert signal.Signals(signum).name in errors
    (resume,) = re.findall(r"python -m tasks (resume=\S+)", errors)
    assert not (out / "result.json").exists()
    assert main([resume]) == 0
    assert_same_run(out, uninterrupted)


def test_killed(uninterrupted, tmp_path):
    out = tmp_path / "run"
    process = start(out)
    time.sleep(int.from_bytes(os.urandom(1)) / 256)
    process.kill()
    process.communicate(timeout=60)
    (out / "checkpoints" / "last.part").write_bytes(b"half a checkpoint")  # as a kill may leave
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted)


def test_asked_twice(tmp_path):
    """The second signal ends the process at once, with what was saved before."""
    out = tmp_path / "run"
    # no step to stop after for seconds to come
    process = start(out, "trainer.batch_size=1", "trainer.accumulate_grad_batches=1000000")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in errors
    assert checkpoint_of(out)["global_step"] == 0


def test_asked_while_the_model_is_built(tmp_path, monkeypatch, capsys):
    def ctrl_c(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.running.run.build_backbone", ctrl_c)
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}"]) == 130
    assert capsys.readouterr().err == "stopped by SIGINT before training began\n"
    assert not list(tmp_path.iterdir())
