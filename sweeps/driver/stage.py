"""Stage of a sweep: a queue of trials, and what its trials train."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from optuna.trial import FrozenTrial, Trial, TrialState

from tasks import CHECKPOINT

from ..workers.job import Job
from .queue import Queue


class Stage(ABC):
    """A queue from which a driver takes trials; ``title`` names the stage in messages."""

    queue: Queue
    title: str
    _kept: Collection[int] = ()  # at the last end of a trial

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
    def kept_checkpoints(self) -> set[int] | None:
        """Numbers of the trials whose runs keep their checkpoints when finished; None for all."""

    def drop_checkpoints(self, ended: int | None = None) -> int:
        """Remove the checkpoints of finished trials that are not kept; returns from how many runs.

        When a trial ``ended``, only of this one and those that it replaces; else of all trials.
        Nothing resumes a trial that completed or was pruned. One that failed keeps them, so that
        people can look at them.
        """
        if (kept := self.kept_checkpoints()) is None:
            return 0
        trials, dropped = self.queue.trials(), 0
        affected = range(len(trials)) if ended is None else {ended, *self._kept}
        self._kept = kept
        for trial in (trials[number] for number in affected if number not in kept):
            finished = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            folders = (
                [(run / CHECKPOINT).parent for run in self.run_dirs(trial)] if finished else []
            )
            for folder in filter(Path.exists, folders):
                shutil.rmtree(folder, ignore_errors=True)
                dropped += 1
        return dropped

    def name_of(self, number: int) -> str:
        """Name of a trial in messages."""
        return f"{self.title} trial {number}"

    def best(self) -> float | None:
        """The best value so far, if the stage optimizes one."""
        return None
