"""One process at a time among machines that share a database and no folder."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from .liveness import LivenessMonitor, worker_identity

#: Seconds between two looks at a lock that another process holds, on average.
LOOK_SECONDS = 0.03

#: A holder elsewhere that has not let go for so long is dead. Who waits for the lock marks no
#: trials: this is well below what these are given.
GRACE_SECONDS = 30.0


class StorageLock:
    """A lock that is a trial: every storage lets one process alone start it.

    Who holds the lock has the trial running. A trial whose process died is failed, which also
    one process alone can do, and another one takes its place: of several the first that has not
    failed counts.

    That it is one process alone is as sure as the witness. One elsewhere that holds the lock for
    longer than its grace, asleep perhaps, is taken for dead while it lives, and then two work at
    once; so is a process that takes the lock in the moment between the last look at a dead one's
    and its failing. What is done under the lock has to bear that, however rare.

    Args:
        name: of its study.
        storage: where it is.
        witness: tells whether who holds it still lives.
    """

    def __init__(self, name: str, storage: BaseStorage, witness: LivenessMonitor) -> None:
        self.name = name
        self.storage = storage
        self.witness = witness
        optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
        self._study = storage.get_study_id_from_name(name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for the lock, and hold it meanwhile."""
        held = self._taken()
        try:
            yield
        finally:
            with suppress(UpdateFinishedTrialError):  # this process was taken for dead
                self.storage.set_trial_user_attr(held, "claim", None)
                self.storage.set_trial_state_values(held, TrialState.WAITING)

    def _taken(self) -> int:
        while True:
            trial = self._current()
            number = trial._trial_id
            with suppress(UpdateFinishedTrialError):  # another process was faster
                if trial.state == TrialState.WAITING:
                    if self.storage.set_trial_state_values(number, TrialState.RUNNING):
                        self.storage.set_trial_user_attr(number, "claim", worker_identity())
                        return number
                elif self._dead(trial) and self._dead(self.storage.get_trial(number)):
                    # the second look is at what may have changed hands since the first was read
                    self.storage.set_trial_state_values(number, TrialState.FAIL)
                    continue
            time.sleep(2 * LOOK_SECONDS * random.random())

    def _current(self) -> FrozenTrial:
        states = (TrialState.WAITING, TrialState.RUNNING)
        while not (trials := self.storage.get_all_trials(self._study, False, states)):
            self.storage.create_new_trial(self._study, create_trial(state=TrialState.WAITING))
        return min(trials, key=lambda trial: trial.number)

    def _dead(self, trial: FrozenTrial) -> bool:
        taken = str(trial.datetime_start)
        return self.witness.dead(self.name, trial.number, trial.user_attrs.get("claim"), taken)
