"""The process that trials are forked from, which has imported what they need."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing import forkserver

#: Imported once, by that process alone.
PRELOAD = ["sweeps._preload"]


def warm_up() -> None:
    """Start it; its imports then go on beside those of the process that asks."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


def will_train(arguments: Sequence[str]) -> bool:
    """Whether a command line is a sweep: ``key=value`` and nothing else.

    >>> will_train(["sweep=routers", "out=runs/routers"]), will_train(["report", "runs/routers"])
    (True, False)
    >>> will_train(["sweep=routers", "--cfg"])
    False
    """
    return all("=" in text and not text.startswith("-") for text in arguments)
