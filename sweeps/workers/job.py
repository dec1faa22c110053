"""Job of one worker process: the runs of a trial, trained one after another."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import tasks
from routers import ConfigError
from tasks import (
    RESULT,
    STOP_SIGNALS,
    DivergedError,
    RankDiedError,
    StoppedError,
    file_lock,
    read_json,
    write_json,
)

from ..search.rungs import Rungs

#: Outcomes of a job; the driver of the last one was killed.
DONE, FAILED, STOPPED, PRUNED, DIED = "done", "failed", "stopped", "pruned", "died"
CRASHED = "crashed"

#: Outcomes that another attempt would not change.
FINAL = (DONE, FAILED, PRUNED)

#: Variable that names the GPUs of a process; torch reads it at its first use of a GPU.
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Job:
    """The runs of a trial: a folder and its overrides for each seed.

    Attributes:
        name: of letters, digits, ``_`` and ``-``; no other trial of any sweep has it.
        sweep: the same of the sweep.
        home: folder of the sweep.
        log: file for the output of the process, in the sweep's folder; the files for its lock
            and its outcome are next to it.
        runs: folders and overrides.
        devices: on which a run trains.
        rungs: how the first run is compared with those of other trials.
    """

    name: str
    sweep: str
    home: Path
    log: Path
    runs: Sequence[tuple[Path, Sequence[str]]]
    devices: int = 1
    rungs: Rungs | None = None

    @property
    def outcome(self) -> Path:
        """The file that says how the job ended; results are in the folders of runs."""
        return self.log.with_suffix(".outcome")

    def moved(self, home: Path) -> Self:
        """The same job in another folder for the sweep."""

        def at(path: Path) -> Path:
            return home / path.relative_to(self.home)

        rungs = self.rungs and replace(self.rungs, folders=[*map(at, self.rungs.folders)])
        runs = [(at(run), overrides) for run, overrides in self.runs]
        return replace(self, home=home, log=at(self.log), runs=runs, rungs=rungs)


class PrunedError(Exception):
    """Other trials were better at this rung."""


def outcome_of(job: Job) -> tuple[str, str] | None:
    """The outcome of a job and a message; None if it is running, waits, or was killed.

    Results count whatever was noted: a run writes its own last.
    """
    if all((run / RESULT).exists() for run, _ in job.runs):
        return DONE, ""
    noted = read_outcome(job.outcome)
    return None if noted is None or noted[0] == DONE else noted


def read_outcome(path: Path) -> tuple[str, str] | None:
    """The outcome and the message that a file notes, if it exists."""
    if not path.exists():
        return None
    noted = read_json(path)
    return noted["outcome"], noted["message"]


def note_outcome(job: Job, outcome: str, message: str) -> None:
    """Write the outcome of a job."""
    write_json(job.outcome, {"outcome": outcome, "message": message})


def drop_outcome(job: Job) -> None:
    """Remove the outcome of a former attempt, unless another one would not change it."""
    if (noted := read_outcome(job.outcome)) and noted[0] not in FINAL:
        job.outcome.unlink()


def work(job: Job, gpus: str | None) -> None:
    """Train a job in this process, which does nothing else, on the ``gpus`` that are named."""
    for signum in STOP_SIGNALS:  # which the fork server ignores
        signal.signal(signum, signal.SIG_DFL)
    # Ctrl-C reaches only the driver, which asks its trials to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpus is not None:
        os.environ[GPUS] = gpus
    job.log.parent.mkdir(parents=True, exist_ok=True)
    output = job.log.open("a", buffering=1, encoding="utf-8")
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = sys.stderr = output
    tasks.quiet()
    with file_lock(job.log.with_suffix(".lock")):  # a process whose driver died may still run
        outcome = outcome_of(job)
        if outcome is None or outcome[0] not in FINAL:
            outcome = _train(job)
        note_outcome(job, *outcome)
    output.flush()
    os._exit(0)  # everything is written; a regular interpreter exit takes a quarter of a second


def _train(job: Job) -> tuple[str, str]:
    try:
        for number, (folder, overrides) in enumerate(job.runs):
            if not (folder / "config.yaml").exists() and folder.exists():
                shutil.rmtree(folder)  # its process ended before the run began
            rungs = job.rungs if number == 0 else None
            tasks.train(folder, overrides, partial(_compare, rungs, folder) if rungs else None)
    except PrunedError:
        return PRUNED, "others were better at this rung"
    except StoppedError:
        return STOPPED, "stopped with a checkpoint"
    except RankDiedError as error:
        return DIED, str(error)
    except (ConfigError, DivergedError, OSError) as error:
        return FAILED, str(error)
    except Exception as error:  # plugins may raise anything; the traceback is in the log
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED, f"{type(error).__name__}: {error} (see {job.log})"
    return DONE, ""


def _compare(rungs: Rungs, run: Path, epoch: int, values: dict[str, float]) -> None:
    """Raise ``PrunedError`` if others are better; on several devices the first process does it."""
    if not rungs.should_continue(run, epoch, values):
        raise PrunedError


def _end_with_parent() -> None:
    """Stop the trial, which writes a checkpoint, if the process that started it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
