"""A run on several devices: a process for each of them, and one that looks after these.

The process that was asked for the run trains nothing itself. So it always sees a rank that dies,
even where the others wait for that one inside a kernel, and a signal always reaches it. Ranks
end with it, however it ends: they see that their link is closed. What they say is a pair for
every validation, None at their end, or the error that ended them; what they are told is the
number of a signal that asks them to stop.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training.signals import Signals
from .run_dir import RESULT, read_json

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation

#: Held by the ranks, so that those of a killed run are gone before it goes on.
RANKS = "ranks.lock"

#: Seconds between two looks for a signal.
LOOK_SECONDS = 0.2

#: A rank that fails may do so because another one died: so long that one's end is waited for.
CAUSE_SECONDS = 3.0


class RankError(RuntimeError):
    """A rank failed in a way that is nobody's known mistake; its traceback is in the output."""


class RankDiedError(RuntimeError):
    """The process of a rank is gone; the run can go on from its last checkpoint."""


@dataclass(frozen=True)
class WorkerConfig:
    """What a rank's process is told at its start.

    Attributes:
        folder: of the run; its configuration is there.
        checkpoint: what to go on from.
        number, of: the rank.
        port: of the store where ranks init_process_group.
        link: file descriptor of the connection to the process that started it.
        draws: whether there is a terminal for the progress bar.
    """

    folder: str
    checkpoint: str | None
    number: int
    of: int
    port: int
    link: int
    draws: bool

    def to_text(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Worker:
    """A rank's process, as who started it sees it."""

    number: int
    process: subprocess.Popen[bytes]
    link: Connection

    def died(self) -> RankDiedError:
        """The error for its end."""
        return RankDiedError(f"device {self.number}: {death(self.process.wait())}")


def launch(
    folder: Path, devices: int, checkpoint: Path | None, draws: bool, tell: "OnValidation | None"
) -> dict[str, Any]:
    """Train the run in a folder on several devices; returns what ``result.json`` holds.

    Args:
        folder: of the run, with its configuration.
        devices: how many.
        checkpoint: what to go on from.
        draws: whether to draw a progress bar.
        tell: is told of every validation.

    Raises:
        RankDiedError: where a process is gone.
        RankError: where one failed in a way of its own.
        Exception: whatever else ends a run on one device, and what ``tell`` raises.
    """
    stop = Signals()
    stop.listen()
    try:
        with _members(folder, devices, checkpoint, draws) as members:
            _look_after(members, stop, tell)
    finally:
        stop.uninstall()
    return dict(read_json(folder / RESULT))


def death(exitcode: int | None) -> str:
    """How a process died, in words.

    >>> death(-9)
    'killed by SIGKILL; out of memory, perhaps'
    """
    if exitcode is None or exitcode >= 0:
        return f"its process ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"killed by {name}" + ("; out of memory, perhaps" if name == "SIGKILL" else "")


def _look_after(members: Sequence[Worker], stop: Signals, tell: "OnValidation | None") -> None:
    """Until all are done."""
    by_link: dict[Any, Worker] = {member.link: member for member in members}
    told = False
    while by_link:
        if stop.signum is not None and not told:
            told = True
            with suppress(OSError):  # where it is gone, the next look says how
                members[0].link.send(stop.signum)  # it alone keeps checkpoints
        for link in wait(list(by_link), LOOK_SECONDS):
            said = _heard(by_link[link])
            if isinstance(said, RankError):
                raise _cause(by_link.values(), said)
            if isinstance(said, BaseException):
                raise said
            if said is None:
                del by_link[link]
            elif tell is not None:
                tell(*said)


def _heard(member: Worker) -> Any:
    """What a rank says; of one that is gone, that it died."""
    try:
        return member.link.recv()
    except (EOFError, OSError):
        return member.died()


def _cause(members: Iterable[Worker], error: RankError) -> BaseException:
    """What else went wrong within a moment, for a rank fails where another one is gone."""
    links: dict[Any, Worker] = {member.link: member for member in members}
    until = time.monotonic() + CAUSE_SECONDS
    while links and (left := until - time.monotonic()) > 0:
        for link in wait(list(links), left):
            said = _heard(links.pop(link))
            if isinstance(said, BaseException) and not isinstance(said, RankError):
                return said
    return error


@contextmanager
def _members(
    folder: Path, devices: int, checkpoint: Path | None, draws: bool
) -> Iterator[list[Worker]]:
    """The processes of all ranks, which are gone in the end."""
    with ExitStack() as held:
        lock = held.enter_context((folder / RANKS).open("a"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = _store(devices)
        members: list[Worker] = []
        held.callback(_end_all, members)
        for number in range(devices):
            here, there = Pipe()
            held.callback(here.close)
            order = WorkerConfig(
                folder=str(folder),
                checkpoint=None if checkpoint is None else str(checkpoint),
                number=number,
                of=devices,
                port=store.port,
                link=there.fileno(),
                draws=draws,
            )
            with there:
                process = _start(order, (there.fileno(), lock.fileno()))
            members.append(Worker(number, process, here))
        yield members


def _store(devices: int) -> Any:
    """Where the ranks meet; nobody else's machine can reach it."""
    import torch.distributed as dist

    from ..training.devices import HOST

    door = socket.create_server((HOST, 0))
    port = door.getsockname()[1]
    return dist.TCPStore(  # type: ignore[attr-defined]
        HOST,
        port,
        devices,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=door.detach(),  # the store closes it
    )


def _start(order: WorkerConfig, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    with _blocked({signal.SIGINT, signal.SIGTERM}):  # which are for this process
        return subprocess.Popen(
            [sys.executable, "-m", "tasks.running.ddp_worker", order.to_text()],
            env={**_defaults(), **os.environ, "PYTHONPATH": paths},  # what is found here
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            start_new_session=True,
        )


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Processes started inside never get these signals, whatever handlers they have for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _defaults() -> dict[str, str]:
    """Of the environment: ranks talk within this machine, no warning of unused parameters."""
    (loopback, *_) = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    within = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback)
    return {"TORCH_CPP_LOG_LEVEL": "ERROR", **within}


def _end_all(members: Sequence[Worker]) -> None:
    """What they had to keep is kept, by renames."""
    for member in members:
        member.process.kill()
    for member in members:
        member.process.wait()
