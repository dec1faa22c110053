"""A run on several devices: one worker process per device, and a parent that supervises them.

The parent does not train. So it always notices a worker that dies, even if the others wait for
it inside a kernel, and signals always reach it. Workers end with the parent, however it ends:
their link is closed. A worker sends a pair for every validation, None when it is done, or the
error that ended it; the parent sends the number of a signal that asks it to stop.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training.signals import Signals
from .file_lock import file_lock
from .run_dir import RESULT, read_json

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation

#: A lock that workers hold: those of a killed run must be gone before it resumes.
RANKS = "ranks.lock"

#: Seconds between two checks for a signal.
LOOK_SECONDS = 0.2

#: Seconds to wait for the death of another worker, which may have made one fail.
CAUSE_SECONDS = 3.0


class RankError(RuntimeError):
    """A worker failed with an unexpected error; ``trace`` is its traceback.

    The parent prints it unless the cause was another one: the death of a peer is an unexpected
    error for every rank that waits for it.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message, trace)  # what is pickled
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


class RankDiedError(RuntimeError):
    """A worker process died; the run can resume from its last checkpoint."""


@dataclass(frozen=True)
class Job:
    """The work of a worker process, which reads the configuration in the folder.

    ``checkpoint`` is the checkpoint to resume from, ``port`` that of the store where ranks meet,
    ``descriptor`` the file descriptor of the connection to the parent; ``draws`` is True if
    progress goes to standard output.
    """

    folder: str
    rank: int
    world_size: int
    checkpoint: str | None
    port: int
    descriptor: int
    draws: bool


@dataclass(frozen=True)
class Worker:
    """A worker process, as the parent sees it."""

    rank: int
    process: subprocess.Popen[bytes]
    link: Connection

    def receive(self) -> Any:
        """Its next message, or the error that it died."""
        try:
            return self.link.recv()
        except (EOFError, OSError):
            return RankDiedError(f"device {self.rank}: {death(self.process.wait())}")


def launch(
    folder: Path,
    devices: int,
    checkpoint: Path | None,
    draws: bool,
    on_validation: "OnValidation | None",
) -> dict[str, Any]:
    """Train the run in a folder on several devices; returns what ``result.json`` holds.

    Raises ``RankDiedError``, ``RankError``, any error that ends a run on one device, and what
    ``on_validation`` raises.
    """
    stop = Signals()
    stop.listen()
    try:
        with _workers(folder, devices, checkpoint, draws) as workers:
            _supervise(workers, stop, on_validation)
    finally:
        stop.uninstall()
    return dict(read_json(folder / RESULT))


def death(exitcode: int | None) -> str:
    """Describe how a process died.

    >>> death(-9)
    'killed by SIGKILL; out of memory, perhaps'
    """
    if exitcode is None or exitcode >= 0:
        return f"its process ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"killed by {name}" + ("; out of memory, perhaps" if name == "SIGKILL" else "")


def _supervise(
    workers: Sequence[Worker], stop: Signals, on_validation: "OnValidation | None"
) -> None:
    """Wait until all workers are done.

    The error of a rank that died comes before the unexpected errors of its peers.
    """
    running: dict[Any, Worker] = {worker.link: worker for worker in workers}
    asked, failure, until = False, None, math.inf
    while running and time.monotonic() < until:
        if stop.signum is not None and not asked:
            asked = True
            with suppress(OSError):  # a dead worker is found below
                workers[0].link.send(stop.signum)  # only rank 0 writes checkpoints
        for link in wait(list(running), LOOK_SECONDS):
            message = running[link].receive()
            if isinstance(message, tuple):
                if on_validation is not None and failure is None:
                    on_validation(*message)
                continue
            del running[link]
            if isinstance(message, RankError):
                failure = failure or message
                until = min(until, time.monotonic() + CAUSE_SECONDS)
            elif message is not None:
                raise message
    if failure is not None:
        sys.stderr.write(failure.trace)
        raise failure


@contextmanager
def _workers(
    folder: Path, devices: int, checkpoint: Path | None, draws: bool
) -> Iterator[list[Worker]]:
    """Start a worker per rank; all are ended on exit."""
    with ExitStack() as held:
        lock = held.enter_context(file_lock(folder / RANKS))
        store = _store(devices)
        workers: list[Worker] = []
        try:
            for rank in range(devices):
                here, there = Pipe()
                held.enter_context(here)
                path = None if checkpoint is None else str(checkpoint)
                job = Job(str(folder), rank, devices, path, store.port, there.fileno(), draws)
                with there:
                    process = _start(job, (job.descriptor, *lock))
                workers.append(Worker(rank, process, here))
            yield workers
        finally:  # files are written by renames, so none is left half-written
            for worker in workers:
                worker.process.kill()
            for worker in workers:
                worker.process.wait()


def _store(devices: int) -> Any:
    """The store where ranks meet, reachable from this machine only."""
    import torch.distributed as dist

    from ..training.devices import HOST

    door = socket.create_server((HOST, 0))
    return dist.TCPStore(  # type: ignore[attr-defined]
        HOST,
        door.getsockname()[1],
        devices,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=door.detach(),  # the store closes it
    )


def _start(job: Job, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a worker; it blocks the signals that are for this process.

    Ranks communicate within this machine, without warnings.
    """
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    within = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback)
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # what is found here
    own = {"PYTHONPATH": paths, "LOCAL_RANK": str(job.rank), "NODE_RANK": "0"}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.running.ddp_worker", json.dumps(asdict(job))],
            env={"TORCH_CPP_LOG_LEVEL": "ERROR", **within, **os.environ, **own},
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
