"""Real processes, stopped in real ways; each start costs seconds, so there are few."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks import main
from tasks.training.signals import Signals

from ..cases import NARROW, TINY, assert_same_run, checkpoint_of, train

LONG = ("trainer.batch_size=16", "trainer.max_epochs=2", "trainer.max_steps=-1")
ROOT = Path(__file__).parents[3]


def start(out, *arguments):
    """A separate ``python -m tasks`` process that has written a checkpoint."""
    checkpoint = out / "checkpoints" / "last.ckpt"
    before = checkpoint.stat().st_ino if checkpoint.exists() else None
    command = [sys.executable, "-m", "tasks", *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not checkpoint.exists() or checkpoint.stat().st_ino == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_asked_to_stop_and_killed(tmp_path):
    """Neither changes the run; SIGINT is answered as SIGTERM, as tests of resumed runs show."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    process = start(out, *TINY, NARROW, f"out={out}", *LONG)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    assert "SIGTERM" in errors
    (resume,) = re.findall(r"python -m tasks (resume=\S+)", errors)
    assert not (out / "result.json").exists()

    process = start(out, resume)  # up to the end of the first epoch
    time.sleep(int.from_bytes(os.urandom(1)) / 256)
    process.kill()
    process.communicate(timeout=60)
    (out / "checkpoints" / "last.part").write_bytes(b"half a checkpoint")  # as a kill may leave
    assert main([resume]) == 0
    train(whole, *LONG)
    assert_same_run(out, whole)


def test_clusters_may_ask_several_times():
    """Before a time limit with SIGUSR2, then with SIGTERM, and each process of a job."""
    before = signal.getsignal(signal.SIGUSR1)
    stop = Signals()
    stop.listen()
    for signum in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
        signal.raise_signal(signum)
        assert stop.signum == signal.SIGUSR2
    stop.uninstall()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_asked_twice(tmp_path):
    """The second Ctrl-C ends the process at once, with what was saved before."""
    out = tmp_path / "run"
    # no step to stop after for seconds to come
    slow = ("trainer.batch_size=1", "trainer.accumulate_grad_batches=1000000")
    process = start(out, *TINY, NARROW, f"out={out}", *LONG, *slow)
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
