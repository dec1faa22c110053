"""Fork server: the process that trials are forked from, with their imports already done."""

import multiprocessing
import signal
from multiprocessing import forkserver


def warm_up() -> None:
    """Start the fork server; its imports then run in parallel with those of this process.

    The fork server ignores SIGINT and ends together with the process that started it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sweeps.workers.preload"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server inherits this
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
