"""A lock that lies in a storage: one at a time, and never stuck for good."""

import fcntl
import threading
from contextlib import ExitStack
from copy import deepcopy
from datetime import datetime, timedelta

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from sweeps.storage import storage_lock
from sweeps.storage.connect import lock_of, open_storage
from sweeps.storage.liveness import BEAT_SECONDS, GRACE_SECONDS, LivenessMonitor, worker_identity
from sweeps.storage.storage_lock import StorageLock

DEAD = {**worker_identity(), "pid": 2**22 + 1}


def turn(storage, grace=100.0):
    return StorageLock("s/lock", storage, LivenessMonitor(grace))


def tickets(storage):
    """State and holder of each trial that is, or was, the lock."""
    study = storage.get_study_id_from_name("s/lock")
    return [(t.state, t.user_attrs.get("claim")) for t in storage.get_all_trials(study)]


def held_by(storage, claim):
    """A lock whose holder did not let go."""
    made = turn(storage)
    number = made._taken()
    storage.set_trial_user_attr(number, "claim", claim)


def test_one_at_a_time():
    """Each reads, waits and writes: what two did at once would be lost."""
    storage, count = InMemoryStorage(), [0]

    def add():
        mine = turn(storage)
        for _ in range(5):
            with mine.alone():
                before = count[0]
                pause.wait(0.001)
                count[0] = before + 1

    pause = threading.Event()
    held_by(storage, DEAD)
    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [20]
    assert tickets(storage) == [(TrialState.FAIL, DEAD), (TrialState.WAITING, None)]


def test_of_two_that_saw_it_free_one_takes_it(monkeypatch):
    storage = InMemoryStorage()
    slow, quick = turn(storage), turn(storage)
    free = deepcopy(slow._current())
    looks = iter([free])
    monkeypatch.setattr(slow, "_current", lambda: next(looks))
    with quick.alone(), pytest.raises(StopIteration):  # it looks again
        slow._taken()


def test_where_two_made_it_at_once_the_first_counts():
    storage = InMemoryStorage()
    one, other = turn(storage), turn(storage)
    for _ in range(2):
        storage.create_new_trial(one._study, create_trial(state=TrialState.WAITING))
    for each in (one, other):
        with each.alone():
            assert [state for state, _ in tickets(storage)] == [
                TrialState.RUNNING,
                TrialState.WAITING,
            ]


def test_it_is_free_after_an_error():
    storage = InMemoryStorage()
    with pytest.raises(KeyError), turn(storage).alone():
        raise KeyError
    with turn(storage).alone():
        assert tickets(storage) == [(TrialState.RUNNING, worker_identity())]


def test_a_holder_elsewhere_has_time_and_then_has_not(monkeypatch):
    storage = InMemoryStorage()
    held_by(storage, {**DEAD, "host": "elsewhere"})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    patient = turn(storage)
    for _ in range(3):
        assert not patient._dead(patient._current())
    with turn(storage, grace=-1).alone():  # seen twice without a change
        assert [state for state, _ in tickets(storage)] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_holder_that_died_before_its_claim_is_seen_by_its_start():
    """Nobody knows whose it is; one that took the lock meanwhile has another start."""
    storage = InMemoryStorage()
    held_by(storage, None)
    hasty = turn(storage, grace=-1)
    first = hasty._current()
    assert not hasty._dead(first)
    first.datetime_start = datetime.now() + timedelta(seconds=1)
    assert not hasty._dead(first)
    assert hasty._dead(first)


def test_what_was_read_long_ago_takes_nobody_s_lock(monkeypatch):
    """The lock of one that seemed dead has changed hands since it was read."""
    storage = InMemoryStorage()
    held_by(storage, {**DEAD, "host": "elsewhere"})
    hasty, quick = turn(storage, grace=-1), turn(storage)
    stale = deepcopy(hasty._current())
    assert not hasty._dead(stale)
    storage.set_trial_state_values(stale._trial_id, TrialState.WAITING)
    looks = iter([stale])
    monkeypatch.setattr(hasty, "_current", lambda: next(looks))
    with quick.alone(), pytest.raises(StopIteration):  # it looks again
        hasty._taken()
    assert [state for state, _ in tickets(storage)] == [TrialState.WAITING]


def test_who_waits_for_the_lock_still_lives_for_others():
    """It marks no trials meanwhile."""
    assert storage_lock.GRACE_SECONDS + BEAT_SECONDS < GRACE_SECONDS / 2


def test_who_was_taken_for_dead_does_not_let_others_in():
    storage = InMemoryStorage()
    slow, quick = turn(storage), turn(storage)
    with ExitStack() as inner:
        with slow.alone():
            number = slow._current()._trial_id
            storage.set_trial_state_values(number, TrialState.FAIL)
            inner.enter_context(quick.alone())
        assert tickets(storage)[-1] == (TrialState.RUNNING, worker_identity())


def test_a_file_is_locked_beside_it(tmp_path, monkeypatch):
    """Whatever the sweep's folder is: two folders may share one file."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with open_storage(url, tmp_path / "a") as storage, ExitStack() as held:
        held.enter_context(lock_of(url, tmp_path / "a", storage, "s")())
        with (tmp_path / "shared.db.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert storage.get_all_studies() == []
