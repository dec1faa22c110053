"""Queue of trials: a study that has all trials of its budget WAITING from the start.

Any number of processes share the trials. If the process of a trial dies, the trial returns to
the queue under the same number: it is not counted twice, and resumes from its last checkpoint.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from ..config.objectives import Direction
from ..storage.liveness import LivenessMonitor, worker_identity
from ..storage.storage_lock import Lock


@dataclass(frozen=True)
class TrialSpec:
    """A trial to enqueue: its fixed parameters and its user attributes."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any]


@dataclass(eq=False)
class Queue:
    """The trials of one study.

    Args:
        name, storage: of the study.
        directions: of the objective values.
        sampler: suggests parameters that a `TrialSpec` does not fix.
        lock: held while the queue changes.
        retries: how often a trial whose process died returns to the queue.
        is_closed: whether waiting trials must not start any more.
    """

    name: str
    storage: BaseStorage
    directions: Sequence[Direction]
    sampler: BaseSampler
    lock: Lock
    retries: int
    is_closed: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.liveness = LivenessMonitor()
        self.study = optuna.create_study(
            study_name=self.name,
            storage=self.storage,
            directions=list(self.directions),
            sampler=self.sampler,
            load_if_exists=True,
        )

    def fill(self, specs: Iterable[TrialSpec]) -> None:
        """Enqueue the trials that the study does not have yet."""
        with self.lock():
            existing = len(self.trials())
            for spec in list(specs)[existing:]:
                self.study.enqueue_trial(dict(spec.params), user_attrs=dict(spec.attrs))

    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.study.get_trials(deepcopy=False)

    def claim(self) -> Trial | None:
        """The next trial for this process, or None if no trial waits."""
        if not self._can_start():  # the usual case, which needs no lock
            return None
        with self.lock():
            if not self._can_start():  # another process may have closed the queue meanwhile
                return None
            trial = self.study.ask()
            trial.set_user_attr("claim", worker_identity())
        return trial

    def requeue(self, trial: Trial) -> None:
        """Return a trial to the queue, as the next one to start."""
        with self.lock():
            if self._is_claimed_here(trial.number):
                self._set_waiting(trial.number)

    def mark_crashed(self, trial: Trial | FrozenTrial, reason: str) -> bool:
        """Requeue a trial whose process died, or fail it after too many retries.

        Returns whether the trial is in the queue again.
        """
        with self.lock():
            return not self._is_claimed_here(trial.number) or self._retry_or_fail(trial, reason)

    def reap(self) -> list[int]:
        """Requeue or fail the trials of dead processes; returns their numbers."""
        if not self._abandoned():
            return []
        with self.lock():
            abandoned = self._abandoned()  # another process may have requeued some meanwhile
            for trial in abandoned:
                self._retry_or_fail(trial, "its sweep was killed", count=0)
        return [trial.number for trial in abandoned]

    def set_attrs(self, trial: Trial, attrs: Mapping[str, Any]) -> None:
        """Set user attributes of a trial that has not finished."""
        for key, value in attrs.items():
            self._set_attr(trial.number, key, value)

    def tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Finish a trial; the trial does not change if it has finished already."""
        with self.lock():  # so that no other process requeues it in between
            # a process that was declared dead may finish its trial: the result is equally valid
            self._set_state(trial.number, TrialState.RUNNING)
            self.study.tell(trial.number, values, state, skip_if_finished=True)

    def fail(self, trial: Trial, reason: str) -> None:
        """Mark a trial FAILED, without retries: it would fail again."""
        self._set_attr(trial.number, "error", reason)
        self.tell(trial, TrialState.FAIL)

    @property
    def num_started(self) -> int:
        """Number of trials that do not wait."""
        return sum(trial.state != TrialState.WAITING for trial in self.trials())

    @property
    def is_open(self) -> bool:
        """Whether a trial runs, or waits and may start."""
        states = {trial.state for trial in self.trials()}
        waiting = TrialState.WAITING in states and not self.is_closed()
        return waiting or TrialState.RUNNING in states

    def _can_start(self) -> bool:
        waiting = any(trial.state == TrialState.WAITING for trial in self.trials())
        return waiting and not self.is_closed()

    def _is_claimed_here(self, number: int) -> bool:
        """Whether this process holds a trial; not if another process declared it dead."""
        return bool(self.trials()[number].user_attrs.get("claim") == worker_identity())

    def _abandoned(self) -> list[FrozenTrial]:
        """Running trials without a live worker.

        A trial starts and is claimed under the same lock: a running trial without a claim belongs
        to a process that was killed between the two, or that is about to claim it.
        """

        def is_abandoned(trial: FrozenTrial) -> bool:
            claim, heartbeat = (trial.user_attrs.get(key) for key in ("claim", "heartbeat"))
            return claim is None or self.liveness.is_dead(self.name, trial.number, claim, heartbeat)

        running = [trial for trial in self.trials() if trial.state == TrialState.RUNNING]
        return [trial for trial in running if is_abandoned(trial)]

    def _retry_or_fail(self, trial: Trial | FrozenTrial, reason: str, count: int = 1) -> bool:
        number, deaths = trial.number, trial.user_attrs.get("deaths", 0) + count
        self._set_attr(number, "deaths", deaths)
        if deaths > self.retries:
            self._set_attr(number, "error", reason)
            self._set_state(number, TrialState.FAIL)
            return False
        self._set_waiting(number)
        return True

    def _set_waiting(self, number: int) -> None:
        """Requeue a trial without its claim: the next worker may die before it sets one."""
        self._set_attr(number, "claim", None)
        self._set_state(number, TrialState.WAITING)

    def _set_attr(self, number: int, key: str, value: Any) -> None:
        """Set an attribute, unless the trial has finished."""
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(self._id(number), key, value)

    def _set_state(self, number: int, state: TrialState) -> None:
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(self._id(number), state)

    def _id(self, number: int) -> int:
        study = self.storage.get_study_id_from_name(self.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, number)
