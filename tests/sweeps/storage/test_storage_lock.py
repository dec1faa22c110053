"""Storage lock: mutual exclusion, and release after its holder died."""

import fcntl
import threading
from contextlib import ExitStack
from copy import deepcopy
from datetime import datetime, timedelta

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from sweeps.storage import storage_lock
from sweeps.storage.connect import open_storage, sweep_lock
from sweeps.storage.liveness import (
    GRACE_SECONDS,
    HEARTBEAT_SECONDS,
    LivenessMonitor,
    worker_identity,
)
from sweeps.storage.storage_lock import StorageLock

DEAD = {**worker_identity(), "pid": 2**22 + 1}


def lock(storage, grace=100.0):
    return StorageLock("s/lock", storage, LivenessMonitor(grace))


def lock_trials(storage):
    """State and claim of each trial that is, or was, the lock."""
    study = storage.get_study_id_from_name("s/lock")
    return [(t.state, t.user_attrs.get("claim")) for t in storage.get_all_trials(study)]


def held_by(storage, claim):
    """Acquire a lock and do not release it."""
    number = lock(storage)._acquire()
    storage.set_trial_user_attr(number, "claim", claim)


def test_one_at_a_time():
    """Each thread reads, waits and writes: an update is lost if two overlap."""
    storage, count = InMemoryStorage(), [0]

    def add():
        mine = lock(storage)
        for _ in range(5):
            with mine.acquire():
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
    assert lock_trials(storage) == [(TrialState.FAIL, DEAD), (TrialState.WAITING, None)]


def test_of_two_that_saw_it_free_one_acquires_it(monkeypatch):
    storage = InMemoryStorage()
    slow, quick = lock(storage), lock(storage)
    free = deepcopy(slow._current())
    looks = iter([free])
    monkeypatch.setattr(slow, "_current", lambda: next(looks))
    with quick.acquire(), pytest.raises(StopIteration):  # it looks again
        slow._acquire()


def test_if_two_created_it_at_once_the_first_counts():
    storage = InMemoryStorage()
    one, other = lock(storage), lock(storage)
    for _ in range(2):
        storage.create_new_trial(one._study, create_trial(state=TrialState.WAITING))
    for each in (one, other):
        with each.acquire():
            assert [state for state, _ in lock_trials(storage)] == [
                TrialState.RUNNING,
                TrialState.WAITING,
            ]


def test_it_is_free_after_an_error():
    storage = InMemoryStorage()
    with pytest.raises(KeyError), lock(storage).acquire():
        raise KeyError
    with lock(storage).acquire():
        assert lock_trials(storage) == [(TrialState.RUNNING, worker_identity())]


def test_a_holder_on_another_host_has_a_grace_period(monkeypatch):
    storage = InMemoryStorage()
    held_by(storage, {**DEAD, "host": "elsewhere"})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    patient = lock(storage)
    for _ in range(3):
        assert not patient._is_dead(patient._current())
    with lock(storage, grace=-1).acquire():  # seen twice without a change
        assert [state for state, _ in lock_trials(storage)] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_holder_that_died_before_its_claim_is_detected_by_its_start():
    """Its host is unknown; a process that acquired the lock meanwhile has another start."""
    storage = InMemoryStorage()
    held_by(storage, None)
    impatient = lock(storage, grace=-1)
    first = impatient._current()
    assert not impatient._is_dead(first)
    first.datetime_start = datetime.now() + timedelta(seconds=1)
    assert not impatient._is_dead(first)
    assert impatient._is_dead(first)


def test_a_stale_trial_does_not_release_the_lock(monkeypatch):
    """The lock has changed hands since the trial of the dead holder was read."""
    storage = InMemoryStorage()
    held_by(storage, {**DEAD, "host": "elsewhere"})
    impatient, quick = lock(storage, grace=-1), lock(storage)
    stale = deepcopy(impatient._current())
    assert not impatient._is_dead(stale)
    storage.set_trial_state_values(stale._trial_id, TrialState.WAITING)
    looks = iter([stale])
    monkeypatch.setattr(impatient, "_current", lambda: next(looks))
    with quick.acquire(), pytest.raises(StopIteration):  # it looks again
        impatient._acquire()
    assert [state for state, _ in lock_trials(storage)] == [TrialState.WAITING]


def test_a_process_that_waits_for_the_lock_counts_as_alive():
    """It sends no heartbeats meanwhile."""
    assert storage_lock.GRACE_SECONDS + HEARTBEAT_SECONDS < GRACE_SECONDS / 2


def test_a_holder_declared_dead_does_not_release_the_new_lock():
    storage = InMemoryStorage()
    slow, quick = lock(storage), lock(storage)
    with ExitStack() as inner:
        with slow.acquire():
            number = slow._current()._trial_id
            storage.set_trial_state_values(number, TrialState.FAIL)
            inner.enter_context(quick.acquire())
        assert lock_trials(storage)[-1] == (TrialState.RUNNING, worker_identity())


def test_an_sqlite_file_is_locked_in_its_folder(tmp_path, monkeypatch):
    """In the folder of the file: sweeps with two folders may share one file."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with open_storage(url, tmp_path / "a") as storage, ExitStack() as held:
        held.enter_context(sweep_lock(url, tmp_path / "a", storage, "s")())
        with (tmp_path / "shared.db.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert storage.get_all_studies() == []
