"""Storage lock: mutual exclusion among machines that share a database but no folder."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from .liveness import LivenessMonitor, worker_identity

#: Factory of a context that one process at a time can enter. It is not reentrant.
Lock = Callable[[], AbstractContextManager[object]]

#: Average seconds between two attempts to acquire a lock that another process holds.
POLL_SECONDS = 0.03

#: A holder on another host that has not released the lock for this many seconds counts as dead.
#: A process that waits for the lock sends no heartbeats, so this is well below the grace of trials.
GRACE_SECONDS = 30.0


class StorageLock:
    """A lock that is a trial: every storage lets only one process start it.

    The holder of the lock has the trial running. If the holder dies, exactly one process marks
    its trial FAILED, and a new trial replaces it; the first trial that has not failed is the
    lock.

    Mutual exclusion is as reliable as the liveness monitor. A holder on another host that keeps
    the lock longer than the grace period (a suspended process, for instance) counts as dead, and
    then two processes work at once. The same happens if a process acquires the lock between the
    last check of a dead holder and the update that marks its trial FAILED. Code under the lock
    must tolerate this, however rare.
    """

    def __init__(self, name: str, storage: BaseStorage, liveness: LivenessMonitor) -> None:
        self.name = name
        self.storage = storage
        self.liveness = liveness
        optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
        self._study = storage.get_study_id_from_name(name)

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for the lock and hold it in the context."""
        trial = self._acquire()
        try:
            yield
        finally:
            with suppress(UpdateFinishedTrialError):  # another process declared this one dead
                self.storage.set_trial_user_attr(trial, "claim", None)
                self.storage.set_trial_state_values(trial, TrialState.WAITING)

    def _acquire(self) -> int:
        while True:
            trial = self._current()
            number = trial._trial_id
            with suppress(UpdateFinishedTrialError):  # another process was faster
                if trial.state == TrialState.WAITING:
                    if self.storage.set_trial_state_values(number, TrialState.RUNNING):
                        self.storage.set_trial_user_attr(number, "claim", worker_identity())
                        return number
                elif self._is_dead(trial) and self._is_dead(self.storage.get_trial(number)):
                    # the second check reads the trial again: the lock may have changed hands
                    self.storage.set_trial_state_values(number, TrialState.FAIL)
                    continue
            time.sleep(2 * POLL_SECONDS * random.random())

    def _current(self) -> FrozenTrial:
        states = (TrialState.WAITING, TrialState.RUNNING)
        while not (trials := self.storage.get_all_trials(self._study, False, states)):
            self.storage.create_new_trial(self._study, create_trial(state=TrialState.WAITING))
        return min(trials, key=lambda trial: trial.number)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        claim, start = trial.user_attrs.get("claim"), str(trial.datetime_start)
        return self.liveness.is_dead(self.name, trial.number, claim, start)
