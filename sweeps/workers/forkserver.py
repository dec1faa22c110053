"""Fork server: the process that trials are forked from, with their imports already done."""

import multiprocessing
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


def trial_context() -> "ForkServerContext | SpawnContext":
    """The way trials are started: forked from the fork server, or else by ``spawn``.

    Python starts processes with ``spawn`` where forking is missing (Windows) or unsafe (macOS).
    """
    default, *others = multiprocessing.get_all_start_methods()
    if default == "spawn" or "forkserver" not in (default, *others):
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Start the fork server, unless it runs; its imports run in parallel with this process.

    The fork server ignores SIGINT and ends together with the process that started it. It imports
    what this process would: by default Python searches the current folder first there. Without
    forking there is nothing to do.
    """
    context = trial_context()
    if context.get_start_method() == "spawn":
        return
    from multiprocessing import forkserver

    context.set_forkserver_preload(["sweeps.workers.preload"])
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    variables = {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    environment = {name: os.environ.get(name) for name in variables}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server inherits this
    os.environ.update(variables)
    try:
        with warnings.catch_warnings():  # trials have no resources that a dead tracker leaks
            warnings.filterwarnings("ignore", "resource_tracker: process died")
            forkserver.ensure_running()
    finally:
        for name, value in environment.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        signal.signal(signal.SIGINT, before)
