"""Job of one worker process: the runs of a trial, trained one after another."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tasks
from routers import ConfigError
from tasks import DivergedError, RankDiedError, StoppedError, file_lock

#: Outcomes of a job; the sweep of the last one was killed.
DONE, FAILED, STOPPED, PRUNED, DIED = "done", "failed", "stopped", "pruned", "died"
CRASHED = "crashed"


@dataclass(frozen=True)
class Job:
    """The runs of a trial: a folder and its overrides for each seed.

    ``log`` is the file for the output of the process; its lock file is in the same folder.
    ``rungs`` are epochs after which the first run is compared with other trials by ``metrics``,
    named as in ``result.json``.
    """

    log: Path
    runs: Sequence[tuple[Path, Sequence[str]]]
    metrics: Sequence[str] = ()
    rungs: Sequence[int] = ()


class PrunedError(Exception):
    """Other trials were better at this rung."""


def work(job: Job, link: Connection) -> None:
    """Train a job in this process, which does nothing else, and send its outcome."""
    # Ctrl-C reaches only the sweep, which asks its trials to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    output = job.log.open("a", buffering=1, encoding="utf-8")
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = sys.stderr = output
    tasks.quiet()
    with file_lock(job.log.with_suffix(".lock")):  # a process whose sweep died may still run
        link.send(_outcome(job, link))
    output.flush()
    os._exit(0)  # everything is written; a regular interpreter exit takes a quarter of a second


def _outcome(job: Job, link: Connection) -> tuple[str, Any]:
    def compare(epoch: int, values: dict[str, float]) -> None:
        if epoch in job.rungs:
            known = {name: values[name] for name in job.metrics if name in values}
            link.send(("rung", (epoch, known)))
            if not link.recv():
                raise PrunedError

    try:
        for number, (folder, overrides) in enumerate(job.runs):
            if not (folder / "config.yaml").exists() and folder.exists():
                shutil.rmtree(folder)  # its process ended before the run began
            tasks.train(folder, overrides, compare if job.rungs and number == 0 else None)
    except PrunedError:
        return PRUNED, None
    except StoppedError as error:
        return STOPPED, error.signum
    except RankDiedError as error:
        return DIED, str(error)
    except (ConfigError, DivergedError, OSError) as error:
        return FAILED, str(error)
    except Exception as error:  # plugins may raise anything; the traceback is in the log
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED, f"{type(error).__name__}: {error} (see {job.log})"
    return DONE, None


def _end_with_parent() -> None:
    """Stop the trial, which writes a checkpoint, if its sweep was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
