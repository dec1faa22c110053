"""Stage of a sweep: a queue of trials, and what its trials train."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from optuna.trial import FrozenTrial, Trial, TrialState

from tasks import CHECKPOINT, RESULT

from .job import Job
from .queue import Queue


class Stage(ABC):
    """A queue from which a pool takes trials.

    ``title`` names the stage in messages; ``files`` of a run are uploaded to a shared storage.
    """

    queue: Queue
    title: str
    files: ClassVar[Sequence[str]]

    def suggest(self, trial: Trial) -> None:
        """Suggest the parameters of a trial; nothing for those with fixed parameters."""
        return

    @abstractmethod
    def job(self, trial: Trial) -> Job:
        """The runs to train for a trial."""

    @abstractmethod
    def finish(self, trial: Trial) -> str:
        """Finish a trial with the results of its runs; returns a summary."""

    @abstractmethod
    def run_dirs(self, trial: Trial | FrozenTrial) -> list[Path]:
        """Folders of a trial's runs."""

    @abstractmethod
    def kept_checkpoints(self) -> set[int]:
        """Numbers of the trials whose runs keep their checkpoints when they are finished."""

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of finished trials that are not kept.

        Nothing resumes a trial that completed or was pruned. One that failed keeps them, so that
        people can look at them.
        """
        kept = self.kept_checkpoints()
        for trial in self.queue.trials():
            ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            for run in self.run_dirs(trial) if ended and trial.number not in kept else ():
                # a process that was declared dead may still train what another has completed
                if trial.state == TrialState.PRUNED or (run / RESULT).exists():
                    shutil.rmtree((run / CHECKPOINT).parent, ignore_errors=True)

    def should_continue(self, trial: Trial, epoch: int, values: Mapping[str, float]) -> bool:
        """Whether a trial continues after a rung."""
        return True

    def name_of(self, number: int) -> str:
        """Name of a trial in messages."""
        return f"{self.title} trial {number}"

    def best(self) -> float | None:
        """The best value so far, if the stage optimizes one."""
        return None
