"""The process that trials are forked from, which has imported what they need."""

import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing import forkserver

#: Imported once, by that process alone.
PRELOAD = ["sweeps.workers.preload"]


def warm_up() -> None:
    """Start it; its imports then go on beside those of the process that asks.

    Ctrl-C is not for it: it ignores that from its start, and ends with who started it.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which it inherits
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def will_train(arguments: Sequence[str]) -> bool:
    """Whether a command line is a sweep: ``key=value`` and nothing else.

    >>> will_train(["sweep=routers", "out=runs/routers"]), will_train(["report", "runs/routers"])
    (True, False)
    >>> will_train(["sweep=routers", "--cfg"])
    False
    """
    return all("=" in text and not text.startswith("-") for text in arguments)
