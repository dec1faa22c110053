"""Queue of trials: a study that has all trials of its budget WAITING from the start.

Any number of processes take trials from the queue, and none runs more than the budget. If the
process of a trial dies, the trial returns to the queue under the same number: it is not counted
twice, and its run resumes from the last checkpoint.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from ..config.objectives import Direction
from ..storage.file_lock import Lock
from ..storage.liveness import LivenessMonitor, worker_identity


@dataclass(frozen=True)
class TrialSpec:
    """A trial to enqueue: its fixed parameters and its user attributes."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any]


class Queue:
    """The trials of one study.

    Args:
        name, storage: of the study.
        directions: of the objective values.
        sampler: suggests parameters that a `TrialSpec` does not fix.
        lock: held while the queue changes.
        retries: how often a trial whose process died returns to the queue.
        is_closed: whether waiting trials must not start any more; checked again under the lock,
            so that no trial starts after another process saw the queue closed.
    """

    def __init__(
        self,
        name: str,
        storage: BaseStorage,
        directions: Sequence[Direction],
        sampler: BaseSampler,
        lock: Lock,
        retries: int,
        is_closed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.storage = storage
        self.lock = lock
        self.retries = retries
        self.is_closed = is_closed
        self.liveness = LivenessMonitor()
        self.study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=list(directions),
            sampler=sampler,
            load_if_exists=True,
        )

    def fill(self, specs: Iterable[TrialSpec]) -> None:
        """Enqueue the trials that the study does not have yet."""
        with self.lock():
            existing = len(self.trials())
            for spec in list(specs)[existing:]:
                self.study.enqueue_trial(dict(spec.params), user_attrs=dict(spec.attrs))

    def set_metric_names(self, names: Sequence[str]) -> None:
        """Name the objective values, for other viewers of the study."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(list(names))

    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.study.get_trials(deepcopy=False)

    def claim(self) -> Trial | None:
        """The next trial for this process, or None if no trial waits."""
        if not self._has_waiting:  # the usual case, which needs no lock
            return None
        with self.lock():
            if not self._has_waiting or self.is_closed():
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
            self.study.tell(
                trial.number,
                values=None if values is None else list(values),
                state=state,
                skip_if_finished=True,
            )

    def fail(self, trial: Trial, reason: str) -> None:
        """Mark a trial FAILED, without retries: it would fail again."""
        self._set_attr(trial.number, "error", reason)
        self.tell(trial, TrialState.FAIL)

    @property
    def idle(self) -> bool:
        """Whether no trial runs."""
        return not any(trial.state == TrialState.RUNNING for trial in self.trials())

    @property
    def num_started(self) -> int:
        """Number of trials that do not wait."""
        return sum(trial.state != TrialState.WAITING for trial in self.trials())

    def heartbeat(self, trial: Trial, now: float) -> None:
        """Show other hosts that the worker of a trial is alive."""
        self._set_attr(trial.number, "heartbeat", now)

    @property
    def is_open(self) -> bool:
        """Whether a trial waits or runs."""
        return any(not trial.state.is_finished() for trial in self.trials())

    @property
    def _has_waiting(self) -> bool:
        return any(trial.state == TrialState.WAITING for trial in self.trials())

    def _is_claimed_here(self, number: int) -> bool:
        """Whether this process holds a trial; not if another process declared it dead."""
        return bool(self.trials()[number].user_attrs.get("claim") == worker_identity())

    def _abandoned(self) -> list[FrozenTrial]:
        """Running trials without a live worker.

        A trial starts and is claimed under the same lock: a running trial without a claim belongs
        to a process that was killed between the two, or that is about to claim it.
        """
        found = []
        for trial in self.trials():
            claim, heartbeat = trial.user_attrs.get("claim"), trial.user_attrs.get("heartbeat")
            if trial.state == TrialState.RUNNING and (
                claim is None or self.liveness.is_dead(self.name, trial.number, claim, heartbeat)
            ):
                found.append(trial)
        return found

    def _retry_or_fail(self, trial: Trial | FrozenTrial, reason: str, count: int = 1) -> bool:
        deaths = trial.user_attrs.get("deaths", 0) + count
        number = trial.number
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
