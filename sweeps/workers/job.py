"""What one process trains: the runs of a trial, one after another."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tasks
from routers import ConfigError
from tasks import DivergedError, RankDiedError, StoppedError

from ..storage.file_lock import alone

#: What a process says of its end.
DONE, FAILED, STOPPED, PRUNED, DIED = "done", "failed", "stopped", "pruned", "died"


@dataclass(frozen=True)
class Job:
    """The runs of a trial.

    Attributes:
        log: what its process prints; beside it is the lock of who trains.
        runs: a folder and its overrides for each seed.
        metrics: compared at rungs, as ``result.json`` names them.
        rungs: epochs after which the first run is compared with other trials.
    """

    log: Path
    runs: Sequence[tuple[Path, Sequence[str]]]
    metrics: Sequence[str] = ()
    rungs: Sequence[int] = ()


class PrunedError(Exception):
    """Other trials were better at this rung."""


class Rungs:
    """Asks at each rung whether to go on; to be told of every validation.

    Args:
        epochs: the rungs.
        metrics: to be compared.
        ask: from an epoch and the values to whether to go on.

    >>> rungs = Rungs([2], ["score.value"], lambda epoch, values: values["score.value"] > 0.5)
    >>> rungs(1, {"score.value": 0.1})
    >>> rungs(2, {"score.value": 0.1})
    Traceback (most recent call last):
    sweeps.workers.job.PrunedError
    """

    def __init__(
        self,
        epochs: Sequence[int],
        metrics: Sequence[str],
        ask: Callable[[int, dict[str, float]], bool],
    ) -> None:
        self.epochs = epochs
        self.metrics = metrics
        self.ask = ask

    def __call__(self, epoch: int, values: dict[str, float]) -> None:
        known = {name: values[name] for name in self.metrics if name in values}
        if epoch in self.epochs and not self.ask(epoch, known):
            raise PrunedError


def work(job: Job, link: Connection) -> None:
    """Train a job in this process, which does nothing else, and say how it ended."""
    os.setsid()  # Ctrl-C is for the sweep, which asks its trials to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    output = job.log.open("a", buffering=1)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = sys.stderr = output
    tasks.quiet()
    with alone(job.log.with_suffix(".lock")):  # a process that lost its sweep may be leaving
        link.send(_outcome(job, link))
    output.flush()
    os._exit(0)  # all is written; taking an interpreter down orderly takes a quarter of a second


def _outcome(job: Job, link: Connection) -> tuple[str, Any]:
    def ask(epoch: int, values: dict[str, float]) -> bool:
        link.send(("rung", (epoch, values)))
        return bool(link.recv())

    rungs = Rungs(job.rungs, job.metrics, ask) if job.rungs else None
    try:
        for number, (folder, overrides) in enumerate(job.runs):
            _train(folder, overrides, rungs if number == 0 else None)
    except PrunedError:
        return PRUNED, None
    except StoppedError as error:
        return STOPPED, error.signum
    except RankDiedError as error:
        return DIED, str(error)
    except (ConfigError, DivergedError, OSError) as error:
        return FAILED, str(error)
    except Exception as error:  # a part of anyone's may raise anything; all of it is in the log
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED, f"{type(error).__name__}: {error} (see {job.log})"
    return DONE, None


def _train(folder: Path, overrides: Sequence[str], rungs: Rungs | None) -> None:
    if not (folder / "config.yaml").exists() and folder.exists():
        shutil.rmtree(folder)  # its process ended before the run began
    tasks.train(folder, overrides, rungs)


def _end_with_parent() -> None:
    """A trial whose sweep was killed leaves a checkpoint and ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
