"""A run on several devices of this machine: torch's elastic agent starts a process per device.

The agent only supervises, so it notices a process that dies even if the others wait for it, and
signals always reach it. An error of a process arrives in a file of a folder that only they use.
"""

import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..training.divergence import DivergedError
from ..training.signals import STOP_SIGNALS, StoppedError
from .run_dir import RESULT, read_json

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation

#: Address at which the processes meet: all run on this machine.
HOST = "127.0.0.1"

#: Seconds in which processes that are asked to stop write their checkpoint.
STOP_SECONDS = 120

#: Files in the folder that the processes share: arguments of ``launch``, and errors by rank.
JOB, ERROR = "job", "error-{}"


class RankDiedError(RuntimeError):
    """A process of a run died; the run can resume from its last checkpoint."""


def launch(
    folder: Path,
    devices: int,
    checkpoint: Path | None,
    draws: bool,
    on_validation: "OnValidation | None",
) -> dict[str, Any]:
    """Train the run in a folder on several devices; returns what ``result.json`` holds.

    ``draws`` says whether progress goes to standard output. Raises ``RankDiedError``, any error
    that ends a run on one device, and what ``on_validation`` raises, which is pickled and called
    in the first process.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with TemporaryDirectory(prefix="switchyard-") as shared, _supervising():
        Path(shared, JOB).write_bytes(pickle.dumps((folder, checkpoint, draws, on_validation)))
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{HOST}:0",
            local_addr=HOST,
            max_restarts=0,  # a run resumes, in sweeps by itself
            signals_to_handle=",".join(each.name for each in STOP_SIGNALS),
            logs_specs=DefaultLogsSpecs(log_dir=shared),
            shutdown_timeout=STOP_SECONDS,
        )
        try:
            rank = ("-P", "-m", "tasks.running.launched", shared, str(os.getpid()))
            elastic_launch(settings, sys.executable)(*rank)
        except ChildFailedError as failed:
            codes = {rank: each.exitcode for rank, each in failed.failures.items()}
            raise find_cause(codes, Path(shared)) from None
        except SignalException as asked:
            raise StoppedError(asked.sigval) from None
    return dict(read_json(folder / RESULT))


def find_cause(codes: Mapping[int, int], shared: Path) -> Exception:
    """The error that ended processes with these exit codes, by rank.

    Those that wait for one that ended fail too: with a ``RuntimeError``, or by SIGTERM from the
    agent.
    """
    files = sorted(shared.glob(ERROR.format("*")), key=lambda path: path.stat().st_mtime_ns)
    errors: list[Exception] = [pickle.loads(path.read_bytes()) for path in files]
    own = [e for e in errors if isinstance(e, DivergedError) or not isinstance(e, RuntimeError)]
    killed = [rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM]
    if causes := own or ([] if killed else errors):
        return causes[0]
    rank = min(killed or codes)
    return RankDiedError(f"device {rank}: {death(codes[rank])}")


def death(exitcode: int | None) -> str:
    """Describe how a process died.

    >>> death(-9)
    'killed by SIGKILL; out of memory, perhaps'
    """
    if exitcode is None or exitcode >= 0:
        return f"its process ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"killed by {name}" + ("; out of memory, perhaps" if name == "SIGKILL" else "")


@contextmanager
def _supervising() -> Iterator[None]:
    """Set what the processes inherit, and restore it and what the agent changes in this process.

    They find the same modules, and communicate within this machine. The agent's log is silent.
    """
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    within = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback)
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    inherited = {"TORCH_CPP_LOG_LEVEL": "ERROR", **within, **os.environ, "PYTHONPATH": paths}
    environment, disabled = dict(os.environ), logging.root.manager.disable
    handlers = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    os.environ.update(inherited)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        os.environ.clear()
        os.environ.update(environment)
        for each, handler in handlers.items():
            if signal.getsignal(each) is not handler:
                signal.signal(each, handler)
