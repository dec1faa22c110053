"""Processes that die at random moments; nothing that finished is lost or counted twice."""

import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing import forkserver

import pytest
from optuna.trial import TrialState

from sweeps import main

from ..waiting import until
from .cases import ARMS as ALL
from .cases import TINY, confirmed, intact, process_context, states, sweep, trials_of

KILLS = 4
ARMS = ALL[::2]


@pytest.mark.usefixtures("no_report")
def test_killed_again_and_again(tmp_path):
    out = tmp_path / "killed"
    draw = random.Random(7)
    more = ("workers=2", "retries=100", "trials=3", "checkpoints=best", f"arms=[{ARMS[0]}]")
    arguments = [*TINY, f"out={out}", *more]
    context = process_context()
    struck = 0
    finished: dict[tuple[str, int], list[float]] = {}
    for _ in range(KILLS):
        forkserver.ensure_running()
        address = forkserver._forkserver._forkserver_address
        process = context.Process(target=_sweep, args=(arguments, address))
        process.start()
        until(lambda process=process: _trials() or not process.is_alive())
        time.sleep(draw.random())
        victims = _trials()
        if victims and draw.random() < 0.7:
            with suppress(ProcessLookupError):  # it may have ended in this moment
                os.kill(draw.choice(victims), signal.SIGKILL)
                struck += 1
            time.sleep(draw.random())
        struck += process.is_alive()
        process.kill()
        process.join()
        for arm in ARMS:  # what is finished stays as it is
            for trial in trials_of(out, arm):
                if trial.state == TrialState.COMPLETE:
                    key = (arm, trial.number)
                    assert finished.setdefault(key, trial.values) == trial.values
        assert intact(out)
    assert struck >= KILLS / 2  # or nothing was shown
    assert sweep(out, *more) == 0
    for arm in ARMS:
        assert states(out, arm) == [TrialState.COMPLETE] * 3
        for (of, number), values in finished.items():
            if of == arm:
                assert trials_of(out, arm)[number].values == values
    assert confirmed(out) == {arm: [1000, 1001] for arm in ARMS}
    assert len(list(out.glob("trials/**/last.ckpt"))) == len(ARMS)
    assert intact(out)


def _sweep(arguments, address):
    """A sweep that forks from the test's own server: a server takes seconds to start."""
    server = forkserver._forkserver
    server._forkserver_address = address
    server.ensure_running = forkserver.ensure_running = lambda: None
    main(arguments)


def _trials():
    """Processes that train: forked by the server, each in its own session."""
    server = str(forkserver._forkserver._forkserver_pid)
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError), open(f"/proc/{entry.name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
                if fields[1] == server and fields[3] == entry.name and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return found
