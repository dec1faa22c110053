"""Trials in the order they run: a study whose every trial waits in line from its start.

All trials of a budget are put in line when the study begins, so that any number of processes
take from it and none runs too many. A trial whose process died goes back into the line under
its own number: nothing is counted twice, and its run goes on from its last checkpoint.
"""

import warnings
from abc import ABC, abstractmethod
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
from .job import Job


@dataclass(frozen=True)
class TrialSpec:
    """A place in the line: parameters that are fixed, and what belongs to the trial."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any]


class Queue:
    """The trials of one study.

    Args:
        name: of the study.
        storage: where it is.
        directions: of its values.
        sampler: draws what places leave open.
        lock: whoever changes the line holds it.
        retries: how often a trial whose process died goes back into the line.
        ended: whether what waits should wait for ever; asked again under the lock, so that no
            trial starts after another process saw the line end.
    """

    def __init__(
        self,
        name: str,
        storage: BaseStorage,
        directions: Sequence[Direction],
        sampler: BaseSampler,
        lock: Lock,
        retries: int,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.storage = storage
        self.lock = lock
        self.retries = retries
        self.ended = ended
        self.witness = LivenessMonitor()
        self.study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=list(directions),
            sampler=sampler,
            load_if_exists=True,
        )

    def fill(self, places: Iterable[TrialSpec]) -> None:
        """Put into line what is not there yet."""
        with self.lock():
            there = len(self.trials())
            for place in list(places)[there:]:
                self.study.enqueue_trial(dict(place.params), user_attrs=dict(place.attrs))

    def name_values(self, names: Sequence[str]) -> None:
        """Call the study's values by their names, for those who look at it in other ways."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(list(names))

    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.study.get_trials(deepcopy=False)

    def claim(self) -> Trial | None:
        """The next trial for this process, or None where nothing waits."""
        if not self._waiting:  # most often, and without a wait for others
            return None
        with self.lock():
            if not self._waiting or self.ended():
                return None
            trial = self.study.ask()
            trial.set_user_attr("claim", worker_identity())
        return trial

    def requeue(self, trial: Trial) -> None:
        """Put a trial back into line, where it is first again."""
        with self.lock():
            if self._own(trial.number):
                self._line_up(trial.number)

    def mark_crashed(self, trial: Trial | FrozenTrial, reason: str) -> bool:
        """A trial's process died: back into line, or failed after too often; whether it is back."""
        with self.lock():
            return not self._own(trial.number) or self._lost(trial, reason)

    def reap(self) -> list[int]:
        """Look after the trials of dead processes; returns their numbers."""
        if not self._dead():
            return []
        with self.lock():
            dead = self._dead()  # by now another process may have looked after some
            for trial in dead:
                self._lost(trial, "its sweep was killed", count=0)
        return [trial.number for trial in dead]

    def keep(self, trial: Trial, attrs: Mapping[str, Any]) -> None:
        """Write down what belongs to a trial, before its end is told."""
        for key, value in attrs.items():
            self._attr(trial.number, key, value)

    def tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """The end of a trial; a second end of it changes nothing."""
        with self.lock():  # or another process would put it back into line in between
            # one that was taken for dead may be in line again, and its end is as good as any
            self._set(trial.number, TrialState.RUNNING)
            self.study.tell(
                trial.number,
                values=None if values is None else list(values),
                state=state,
                skip_if_finished=True,
            )

    def fail(self, trial: Trial, reason: str) -> None:
        """The trial cannot work, and will not the next time."""
        self._attr(trial.number, "error", reason)
        self.tell(trial, TrialState.FAIL)

    def prune(self, trial: Trial) -> None:
        """Other trials were better before its end."""
        self.tell(trial, TrialState.PRUNED)

    @property
    def idle(self) -> bool:
        """Whether no trial runs."""
        return not any(trial.state == TrialState.RUNNING for trial in self.trials())

    @property
    def started(self) -> int:
        """How many trials no longer wait."""
        return sum(trial.state != TrialState.WAITING for trial in self.trials())

    def heartbeat(self, trial: Trial, mark: float) -> None:
        """Let other machines see that this trial is worked on."""
        self._attr(trial.number, "heartbeat", mark)

    @property
    def open(self) -> bool:
        """Whether a trial waits or runs."""
        return any(not trial.state.is_finished() for trial in self.trials())

    @property
    def _waiting(self) -> bool:
        return any(trial.state == TrialState.WAITING for trial in self.trials())

    def _own(self, number: int) -> bool:
        """Whether this process still has a trial: one that was taken for dead has lost its."""
        return bool(self.trials()[number].user_attrs.get("claim") == worker_identity())

    def _dead(self) -> list[FrozenTrial]:
        """Running trials that nobody works on.

        A trial is taken and claimed under the same lock: one that runs without a claim is of a
        process that was killed between the two, or of one that is about to claim it.
        """
        return [
            trial
            for trial in self.trials()
            if trial.state == TrialState.RUNNING and self._abandoned(trial.number, trial.user_attrs)
        ]

    def _abandoned(self, number: int, attrs: Mapping[str, Any]) -> bool:
        claim = attrs.get("claim")
        return claim is None or self.witness.dead(self.name, number, claim, attrs.get("heartbeat"))

    def _lost(self, trial: Trial | FrozenTrial, reason: str, count: int = 1) -> bool:
        deaths = trial.user_attrs.get("deaths", 0) + count
        number = trial.number
        self._attr(number, "deaths", deaths)
        if deaths > self.retries:
            self._attr(number, "error", reason)
            self._set(number, TrialState.FAIL)
            return False
        self._line_up(number)
        return True

    def _line_up(self, number: int) -> None:
        """Back into line, and nobody's: who takes it next may die before it makes its claim."""
        self._attr(number, "claim", None)
        self._set(number, TrialState.WAITING)

    def _attr(self, number: int, key: str, value: Any) -> None:
        """Set an attribute; of a finished trial nothing changes any more."""
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(self._id(number), key, value)

    def _set(self, number: int, state: TrialState) -> None:
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(self._id(number), state)

    def _id(self, number: int) -> int:
        study = self.storage.get_study_id_from_name(self.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, number)


class Stage(ABC):
    """What a pool takes work from: a queue, and what its trials mean.

    Attributes:
        queue: the trials.
        title: what to call this line.
    """

    queue: Queue
    title: str

    @abstractmethod
    def draw(self, trial: Trial) -> None:
        """Suggest the parameters of a trial."""

    @abstractmethod
    def job(self, trial: Trial) -> Job:
        """What to train for it."""

    @abstractmethod
    def finish(self, trial: Trial) -> str:
        """Tell what its runs came to; returns it in words."""

    @abstractmethod
    def gather(self) -> list[str]:
        """Bring here what other machines did; returns what is missing, a line for each run."""

    def goes_on(self, trial: Trial, epoch: int, values: Mapping[str, float]) -> bool:
        """Whether a trial goes on after a rung."""
        return True

    @property
    def open(self) -> bool:
        """Whether there is anything left to do or to wait for."""
        return self.queue.open

    @property
    def takes_more(self) -> bool:
        """Whether waiting trials should start."""
        return True

    def name_of(self, number: int) -> str:
        """What to call a trial."""
        return f"{self.title} trial {number}"

    def best(self) -> float | None:
        """The best value so far, if there is such a thing."""
        return None
