"""Processes that train together on this machine, started once and given one check after another.

They are forked from a process that has loaded what they need. It is not Python's own fork server,
of which a process has one, with the modules of sweeps.
"""

import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ...waiting import HANG_SECONDS

#: Modules that are loaded once, before the processes are forked.
PRELOAD = ("tests.experts.parallel.training", "torch._dynamo")


class Fleets:
    """Groups of processes by size; ``fleets(2, check, *given)`` runs a check in the one of two.

    A check that fails in a process fails here, with its traceback. All are then started again, as
    others may wait for that process.
    """

    def __init__(self, sizes: Sequence[int], folder: Path, preload: Sequence[str]) -> None:
        self.sizes, self.folder, self.preload, self.starts = sizes, folder, preload, 0
        self.links: dict[int, list[Connection]] = {}
        self.parent: Any = None

    def __call__(self, size: int, check: Callable[..., object], *given: Any) -> list[Any]:
        if not self.links:
            self._start()
        links = self.links[size]
        for link in links:
            link.send((check, given))
        found: dict[int, Any] = {}
        while len(found) < size:
            ready = wait(links, timeout=HANG_SECONDS)
            answers = {links.index(link): link.recv() for link in ready}  # type: ignore[arg-type]
            failures = [text for failed, text in answers.values() if failed]
            if failures or not ready:
                self.stop()
                raise AssertionError("\n".join(failures) or f"no answer after {HANG_SECONDS} s")
            found |= {rank: value for rank, (_, value) in answers.items()}
        return [found[rank] for rank in range(size)]

    def _start(self) -> None:
        self.starts += 1
        store = self.folder / str(self.starts)
        store.mkdir()
        context = get_context("spawn")
        pipes = {size: [context.Pipe() for _ in range(size)] for size in self.sizes}
        theirs = {size: [there for _, there in ends] for size, ends in pipes.items()}
        self.links = {size: [here for here, _ in ends] for size, ends in pipes.items()}
        self.open, until = context.Pipe()
        self.parent = context.Process(target=_fork, args=(theirs, self.preload, str(store), until))
        self.parent.start()
        for end in [until, *(end for ends in theirs.values() for end in ends)]:
            end.close()

    def stop(self) -> None:
        """End the processes, whatever they do."""
        if self.links:
            self.open.close()
            self.parent.join()
            for link in [link for links in self.links.values() for link in links]:
                link.close()
            self.links = {}


@contextmanager
def fleets(folder: Path, *sizes: int, preload: Sequence[str] = PRELOAD) -> Iterator[Fleets]:
    """Groups of processes that have ended in the end."""
    started = Fleets(sizes, folder, preload)
    try:
        yield started
    finally:
        started.stop()


def _fork(
    groups: Mapping[int, Sequence[Connection]],
    preload: Sequence[str],
    store: str,
    until: Connection,
) -> None:
    """Start all groups, and end them once the other end of ``until`` is closed."""
    for module in preload:
        import_module(module)
    given = [
        (r, n, f"{store}/{n}", end) for n, ends in groups.items() for r, end in enumerate(ends)
    ]
    processes = [get_context("fork").Process(target=_serve, args=each) for each in given]
    for process in processes:
        process.start()
    until.poll(None)
    for process in processes:
        process.kill()
        process.join()


def _serve(rank: int, size: int, store: str, link: Connection) -> None:
    """Run checks as they arrive, in float64 and with warnings as errors."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, size),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=HANG_SECONDS),
    )
    while True:
        check, given = link.recv()
        try:
            link.send((False, check(*given)))
        except Exception:
            link.send((True, f"rank {rank} of {size}:\n{traceback.format_exc()}"))
