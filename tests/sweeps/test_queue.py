"""The line of trials: exact budgets, whoever dies."""

import os
import socket
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from optuna.trial import TrialState

from sweeps.search.samplers import SAMPLERS, Reseeded
from sweeps.storage.connect import open_storage
from sweeps.storage.file_lock import alone
from sweeps.storage.liveness import MACHINE, LivenessMonitor, machine, start_time, worker_identity
from sweeps.workers.pool import Pool
from sweeps.workers.queue import Queue, TrialSpec

TRIALS = 14


@pytest.fixture
def made(tmp_path):
    """Makes a queue; each has connections of its own, as every process has."""
    opened = ExitStack()

    def make(sampler="random", folder="a", retries=1):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        storage = opened.enter_context(open_storage(None, home))
        reseeded = Reseeded(sampler, 3, "arm")
        lock = partial(alone, home / "lock")
        queue = Queue("s/arm", storage, ["minimize"], reseeded, lock, retries)
        queue.fill([TrialSpec({"x": 0.5}, {}), *[TrialSpec({}, {})] * (TRIALS - 1)])
        return queue

    with opened:
        yield make


def work(queue, until=TRIALS):
    """Do trials whose value is plain arithmetic."""
    while queue.started < until and (trial := queue.claim()):
        x = trial.suggest_float("x", 0, 1)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        queue.tell(trial, TrialState.COMPLETE, [(x - 0.3) ** 2 + (kind == "a")])


def drawn(queue):
    return [(trial.number, trial.params, trial.values) for trial in queue.trials()]


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_stopped_at_every_trial_it_draws_the_same(made, sampler):
    whole = made(sampler, "whole")
    work(whole)
    for stop in (1, 6, 11, 12):
        queue = made(sampler, "stopped")
        work(queue, until=stop)
        trial = queue.claim()  # and dies, sometimes after it has drawn
        if stop % 2:
            trial.suggest_float("x", 0, 1)
        queue.requeue(trial)
    work(made(sampler, "stopped"))
    assert drawn(made(sampler, "stopped")) == drawn(whole)
    assert len(drawn(whole)) == TRIALS
    assert drawn(whole)[0][1]["x"] == 0.5


def test_places_are_filled_once(made):
    made()
    assert len(made().trials()) == TRIALS


def test_two_take_no_trial_twice(made):
    one, other = made(), made()
    numbers = [queue.claim().number for queue in (one, other, other, one)]
    assert numbers == [0, 1, 2, 3]


def test_nothing_starts_once_the_line_has_ended(made):
    """Another machine may have gone on to what comes after it, meanwhile."""
    queue = made()
    queue.ended = lambda: queue.started > 0
    assert queue.claim().number == 0
    assert queue.claim() is None


def test_the_end_counts_once(made):
    queue = made()
    trial = queue.claim()
    queue.tell(trial, TrialState.COMPLETE, [1.0])
    queue.tell(trial, TrialState.COMPLETE, [2.0])
    queue.requeue(trial)
    queue.mark_crashed(trial, "late")
    assert (queue.trials()[0].state, queue.trials()[0].values) == (TrialState.COMPLETE, [1.0])


def test_a_trial_that_keeps_dying_is_given_up(made):
    queue = made(retries=1)
    assert queue.mark_crashed(queue.claim(), "killed")
    trial = queue.claim()
    assert trial.number == 0
    assert not queue.mark_crashed(trial, "killed")
    assert queue.trials()[0].state == TrialState.FAIL
    assert queue.trials()[0].user_attrs["error"] == "killed"


def test_trials_of_dead_processes_go_back(made):
    queue = made()
    alive, dead, reused = (queue.claim() for _ in range(3))
    claim = worker_identity()
    dead.set_user_attr("claim", {**claim, "pid": 2**22 + 1})
    reused.set_user_attr("claim", {**claim, "start": claim["start"] - 1})
    assert queue.reap() == [dead.number, reused.number]
    assert queue.trials()[alive.number].state == TrialState.RUNNING
    assert queue.claim().number == dead.number


def test_a_trial_whose_process_died_before_it_made_its_claim_goes_back(made):
    queue = made()
    unclaimed = queue.study.ask()  # what claiming does first
    assert queue.reap() == [unclaimed.number]
    assert queue.claim().number == unclaimed.number


def test_a_trial_taken_again_is_not_its_former_process_s(made):
    """A worker that lives on after its trial died must not vouch for who takes it next."""
    queue = made()
    trial = queue.claim()
    queue.mark_crashed(trial, "killed")
    assert queue.study.ask().number == trial.number  # and dies before its claim
    assert queue.reap() == [trial.number]
    queue.requeue(queue.claim())
    assert queue.study.ask().number == trial.number
    assert queue.reap() == [trial.number]


def test_what_was_taken_for_dead_has_no_say(made):
    """It slept, or the network did; its trial is another's now."""
    asleep, other = made(), made()
    trial = asleep.claim()
    taken = {**worker_identity(), "pid": 1}
    other.keep(trial, {"claim": taken})
    asleep.requeue(trial)
    assert asleep.mark_crashed(trial, "killed")
    (first, *_) = other.trials()
    assert (first.state, first.user_attrs["claim"]) == (TrialState.RUNNING, taken)
    assert "deaths" not in first.user_attrs
    other.tell(trial, TrialState.COMPLETE, [1.0])
    asleep.heartbeat(trial, 2.0)
    asleep.keep(trial, {"files 0": "late"})
    asleep.fail(trial, "late")
    (first, *_) = other.trials()
    assert (first.state, first.values) == (TrialState.COMPLETE, [1.0])
    assert not {"heartbeat", "files 0", "error"} & first.user_attrs.keys()


def test_who_was_taken_for_dead_and_ends_first_has_ended_it(made):
    asleep, other = made(), made()
    trial = asleep.claim()
    other._line_up(trial.number)
    asleep.tell(trial, TrialState.COMPLETE, [1.0])
    (first, second, *_) = other.trials()
    assert (first.state, first.values) == (TrialState.COMPLETE, [1.0])
    assert other.claim().number == second.number


def test_nobody_comes_between_an_end_and_its_telling(made):
    """A trial that waits is set running for its end, and running without a claim is abandoned."""
    asleep, other = made(), made()
    trial = asleep.claim()
    other._line_up(trial.number)
    reaping, set_state = threading.Thread(target=other.reap), asleep._set

    def set_and_pause(number, state):
        set_state(number, state)
        reaping.start()
        reaping.join(0.3)  # a wait too short would pass, and never fail by chance

    asleep._set = set_and_pause
    asleep.tell(trial, TrialState.COMPLETE, [1.0])
    reaping.join()
    (first, *_) = other.trials()
    assert (first.state, first.values) == (TrialState.COMPLETE, [1.0])


def test_a_trial_that_ends_before_it_is_drawn_is_dropped(made, monkeypatch):
    """Its former process, which was taken for dead, told its end after it was claimed again."""
    monkeypatch.setattr("sweeps.workers.pool.warm_up", lambda: None)
    asleep, other = made(), made()
    asleep.claim()
    other._line_up(0)
    trial = other.claim()
    asleep.tell(trial, TrialState.COMPLETE, [1.0])
    line, pool = Mock(draw=lambda trial: trial.suggest_float("y", 0, 1)), Pool(1, Mock())
    pool._start(line, trial)
    assert (pool.running, line.job.call_count) == ([], 0)


def test_workers_elsewhere_are_known_by_their_marks():
    elsewhere = {"host": "elsewhere", "pid": 1, "start": 1}
    patient, hasty = LivenessMonitor(grace=100), LivenessMonitor(grace=-1)
    for witness in (patient, hasty):
        assert not witness.dead("s", 0, elsewhere, 1)
    assert hasty.dead("s", 0, elsewhere, 1)
    assert not hasty.dead("s", 0, elsewhere, 2)
    assert not patient.dead("s", 0, elsewhere, 1)


def test_a_machine_that_is_gone_gives_its_trials_back(made, monkeypatch):
    here, there = made(), made()
    monkeypatch.setenv(MACHINE, "there")
    trial = there.claim()
    monkeypatch.setenv(MACHINE, "here")
    here.witness = LivenessMonitor(grace=-1)  # whatever does not change between two looks is dead
    for mark in range(4):
        there.heartbeat(trial, float(mark))
        assert here.reap() == []
    assert here.reap() == [trial.number]
    assert here.claim().number == trial.number


def test_a_process_of_another_machine_is_not_looked_up_here(made, monkeypatch):
    """The same host after its restart, or a container beside: its numbers mean others here."""
    queue = made()
    trial = queue.claim()
    queue.keep(trial, {"claim": {**worker_identity(), "pid": 2**22 + 1}})
    monkeypatch.setenv(MACHINE, "after the restart")
    assert queue.reap() == []


def test_a_machine_is_more_than_its_name():
    start = Path("/proc/sys/kernel/random/boot_id")
    if not start.exists():
        pytest.skip("this system does not tell its starts apart")
    assert machine().split() == [
        socket.gethostname(),
        start.read_text().strip(),
        os.readlink("/proc/self/ns/pid"),
    ]


def test_a_process_that_the_system_does_not_tell_of_is_known_by_its_marks():
    unknown = {**worker_identity(), "start": None}
    assert not LivenessMonitor().dead("s", 0, unknown, 1)


def test_start_time_tells_processes_apart():
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(2**22 + 1) is None
