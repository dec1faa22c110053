"""Queue of trials: a study that has all trials of its budget WAITING from the start.

If the process of a trial dies, the trial returns to the queue under the same number: it is not
counted twice, and resumes from its last checkpoint.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from ..config.objectives import Direction


@dataclass(frozen=True)
class TrialSpec:
    """A trial to enqueue: its fixed parameters and its user attributes."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any]


@dataclass(eq=False)
class Queue:
    """The trials of one study, which only this process changes.

    Args:
        name, storage, directions: of the study.
        sampler: suggests parameters that a `TrialSpec` does not fix.
        retries: how often a trial whose process died returns to the queue.
        is_closed: whether waiting trials must not start any more.
    """

    name: str
    storage: BaseStorage
    directions: Sequence[Direction]
    sampler: BaseSampler
    retries: int
    is_closed: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.study = optuna.create_study(
            study_name=self.name,
            storage=self.storage,
            directions=list(self.directions),
            sampler=self.sampler,
            load_if_exists=True,
        )
        self._trials: list[FrozenTrial] | None = None  # None after a change

    def fill(self, specs: Iterable[TrialSpec]) -> None:
        """Enqueue the trials that the study does not have yet."""
        self.enqueue(list(specs)[len(self.trials()) :])

    def enqueue(self, specs: Iterable[TrialSpec]) -> None:
        """Enqueue further trials."""
        for spec in specs:
            self.study.enqueue_trial(dict(spec.params), user_attrs=dict(spec.attrs))
        self._trials = None

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as they were when the queue last changed one.

        Optuna would read all that wait from the database each time.
        """
        if self._trials is None:
            self._trials = self.study.get_trials(deepcopy=False)
        return self._trials

    def claim(self) -> Trial | None:
        """The next trial to start, or None if no trial waits."""
        waiting = any(trial.state == TrialState.WAITING for trial in self.trials())
        if not waiting or self.is_closed():
            return None
        self._trials = None
        return self.study.ask()

    def unsettled(self) -> list[Trial]:
        """Trials that a former driver started and did not finish."""
        running = [trial for trial in self.trials() if trial.state == TrialState.RUNNING]
        return [Trial(self.study, trial._trial_id) for trial in running]

    def requeue(self, trial: Trial) -> None:
        """Return a trial to the queue, as the next one to start."""
        self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        self._trials = None

    def mark_crashed(self, trial: Trial, reason: str) -> bool:
        """Requeue a trial whose process died; False if it failed after too many retries."""
        deaths = self.trials()[trial.number].user_attrs.get("deaths", 0) + 1
        trial.set_user_attr("deaths", deaths)
        if deaths > self.retries:
            self.fail(trial, reason)
            return False
        self.requeue(trial)
        return True

    def tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Finish a trial."""
        self.study.tell(trial.number, values, state)
        self._trials = None

    def fail(self, trial: Trial, reason: str) -> None:
        """Mark a trial FAILED, without retries: it would fail again."""
        trial.set_user_attr("error", reason)
        self.tell(trial, TrialState.FAIL)

    @property
    def num_started(self) -> int:
        """Number of trials that do not wait."""
        return sum(trial.state != TrialState.WAITING for trial in self.trials())
