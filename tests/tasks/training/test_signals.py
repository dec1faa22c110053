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

from ...sweeps.cases import process_context
from ...waiting import HANG_SECONDS, until
from ..cases import NARROW, TINY, assert_same_run, checkpoint_of, train

LONG = ("trainer.batch_size=16", "trainer.max_epochs=2", "trainer.max_steps=-1")
ROOT = Path(__file__).parents[3]


def has_saved(out, process):
    """Wait until a process has written a checkpoint that was not there."""
    checkpoint = out / "checkpoints" / "last.ckpt"
    before = checkpoint.stat().st_ino if checkpoint.exists() else None
    process.start()

    def saved():
        assert process.is_alive()
        return checkpoint.exists() and checkpoint.stat().st_ino != before

    until(saved)


def forked(out, *arguments):
    """A process of the command that has written a checkpoint, with all imports done before."""
    process = process_context().Process(
        target=run_command, args=(arguments, out.with_suffix(".err"))
    )
    has_saved(out, process)
    return process


def run_command(arguments, errors):
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    sys.exit(main(arguments))


class Command:
    """``python -m tasks`` as a user starts it."""

    def __init__(self, *arguments):
        self.words = [sys.executable, "-m", "tasks", *arguments]

    def start(self):
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(self.words, env=variables, text=True, **pipes)

    def is_alive(self):
        return self.process.poll() is None


def test_asked_to_stop_and_killed(tmp_path):
    """Neither changes the run; SIGINT is answered as SIGTERM, as tests of resumed runs show."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    command = Command(*TINY, NARROW, f"out={out}", *LONG)
    has_saved(out, command)
    command.process.send_signal(signal.SIGTERM)
    _, errors = command.process.communicate(timeout=HANG_SECONDS)
    assert command.process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    assert "SIGTERM" in errors
    (resume,) = re.findall(r"python -m tasks (resume=\S+)", errors)
    assert not (out / "result.json").exists()

    process = forked(out, resume)  # up to the end of the first epoch
    time.sleep(int.from_bytes(os.urandom(1)) / 256)
    process.kill()
    process.join()
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
    process = forked(out, *TINY, NARROW, f"out={out}", *LONG, *slow)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(HANG_SECONDS)
    assert process.exitcode == -signal.SIGINT
    assert "Traceback" not in out.with_suffix(".err").read_text()
    assert checkpoint_of(out)["global_step"] == 0


def test_asked_while_the_model_is_built(tmp_path, monkeypatch, capsys):
    def ctrl_c(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.running.run.build_backbone", ctrl_c)
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}"]) == 130
    assert capsys.readouterr().err == "stopped by SIGINT before training began\n"
    assert not list(tmp_path.iterdir())
