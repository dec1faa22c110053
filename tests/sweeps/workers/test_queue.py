"""Queue of trials: exact budgets, even if processes die."""

import multiprocessing
import threading
from contextlib import ExitStack
from functools import partial
from unittest.mock import Mock

import pytest
from optuna.trial import TrialState

from sweeps import open_storage
from sweeps.search.samplers import SAMPLERS, ReseededSampler
from sweeps.storage.liveness import HOST_ID_VARIABLE, LivenessMonitor, worker_identity
from sweeps.workers.pool import Pool
from sweeps.workers.queue import Queue, TrialSpec
from tasks import file_lock

TRIALS = 14


@pytest.fixture
def made(tmp_path):
    """Factory of queues; each has a separate connection, as in separate processes."""
    opened = ExitStack()

    def make(sampler="random", folder="a", retries=1):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        storage = opened.enter_context(open_storage(None, home))
        reseeded = ReseededSampler(sampler, 3, "arm")
        lock = partial(file_lock, home / "lock")
        queue = Queue("s/arm", storage, ["minimize"], reseeded, lock, retries)
        queue.fill([TrialSpec({"x": 0.5}, {}), *[TrialSpec({}, {})] * (TRIALS - 1)])
        return queue

    with opened:
        yield make


def work(queue, until=TRIALS):
    """Run trials whose value is simple arithmetic."""
    while queue.num_started < until and (trial := queue.claim()):
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


def test_a_queue_is_filled_once(made):
    made()
    assert len(made().trials()) == TRIALS


def test_two_processes_claim_different_trials(made):
    one, other = made(), made()
    numbers = [queue.claim().number for queue in (one, other, other, one)]
    assert numbers == [0, 1, 2, 3]


def test_no_trial_starts_after_the_queue_closed(made):
    """Another machine may have started the next stage meanwhile."""
    queue = made()
    queue.is_closed = lambda: queue.num_started > 0
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


def test_a_trial_that_keeps_dying_fails(made):
    queue = made(retries=1)
    assert queue.mark_crashed(queue.claim(), "killed")
    trial = queue.claim()
    assert trial.number == 0
    assert not queue.mark_crashed(trial, "killed")
    assert queue.trials()[0].state == TrialState.FAIL
    assert queue.trials()[0].user_attrs["error"] == "killed"


def test_trials_of_dead_processes_are_requeued(made):
    queue = made()
    alive, dead, reused = (queue.claim() for _ in range(3))
    claim = worker_identity()
    dead.set_user_attr("claim", {**claim, "pid": 2**22 + 1})
    reused.set_user_attr("claim", {**claim, "start": claim["start"] - 1})
    assert queue.reap() == [dead.number, reused.number]
    assert queue.trials()[alive.number].state == TrialState.RUNNING
    assert queue.claim().number == dead.number


def test_a_trial_whose_process_died_before_its_claim_is_requeued(made):
    queue = made()
    unclaimed = queue.study.ask()  # what claiming does first
    assert queue.reap() == [unclaimed.number]
    assert queue.claim().number == unclaimed.number


def test_a_requeued_trial_does_not_belong_to_its_former_process(made):
    """A worker that outlives its trial must not count as the worker of the next attempt."""
    queue = made()
    trial = queue.claim()
    queue.mark_crashed(trial, "killed")
    assert queue.study.ask().number == trial.number  # and dies before its claim
    assert queue.reap() == [trial.number]
    queue.requeue(queue.claim())
    assert queue.study.ask().number == trial.number
    assert queue.reap() == [trial.number]


def test_a_process_declared_dead_does_not_change_its_trial(made):
    """It was suspended, or the network was; another process has its trial now."""
    suspended, other = made(), made()
    trial = suspended.claim()
    taken = {**worker_identity(), "pid": 1}
    other.set_attrs(trial, {"claim": taken})
    suspended.requeue(trial)
    assert suspended.mark_crashed(trial, "killed")
    (first, *_) = other.trials()
    assert (first.state, first.user_attrs["claim"]) == (TrialState.RUNNING, taken)
    assert "deaths" not in first.user_attrs
    other.tell(trial, TrialState.COMPLETE, [1.0])
    suspended.set_attrs(trial, {"heartbeat": 2.0, "files 0": "late"})
    suspended.fail(trial, "late")
    (first, *_) = other.trials()
    assert (first.state, first.values) == (TrialState.COMPLETE, [1.0])
    assert not {"heartbeat", "files 0", "error"} & first.user_attrs.keys()


def test_a_process_declared_dead_may_finish_its_trial_first(made):
    suspended, other = made(), made()
    trial = suspended.claim()
    other._set_waiting(trial.number)
    suspended.tell(trial, TrialState.COMPLETE, [1.0])
    (first, second, *_) = other.trials()
    assert (first.state, first.values) == (TrialState.COMPLETE, [1.0])
    assert other.claim().number == second.number


def test_no_process_requeues_a_trial_while_it_is_finished(made):
    """A waiting trial is set running to finish it, and is abandoned without a claim."""
    suspended, other = made(), made()
    trial = suspended.claim()
    other._set_waiting(trial.number)
    reaping, set_state = threading.Thread(target=other.reap), suspended._set_state

    def set_and_pause(number, state):
        set_state(number, state)
        reaping.start()
        reaping.join(0.3)  # a wait too short would pass, and never fail by chance

    suspended._set_state = set_and_pause
    suspended.tell(trial, TrialState.COMPLETE, [1.0])
    reaping.join()
    (first, *_) = other.trials()
    assert (first.state, first.values) == (TrialState.COMPLETE, [1.0])


def test_a_trial_that_finishes_before_its_suggestions_is_dropped(made, monkeypatch):
    """Its former process, declared dead, finishes it after it was claimed again."""
    monkeypatch.setattr("sweeps.workers.pool.warm_up", lambda: None)
    suspended, other = made(), made()
    suspended.claim()
    other._set_waiting(0)
    trial = other.claim()
    suspended.tell(trial, TrialState.COMPLETE, [1.0])
    stage, pool = Mock(suggest=lambda trial: trial.suggest_float("y", 0, 1)), Pool(1, Mock())
    pool._start(stage, trial)
    assert (pool.running, stage.job.call_count) == ([], 0)


def test_a_fork_server_killed_at_a_start_is_a_death_of_the_trial(made, monkeypatch):
    monkeypatch.setattr("sweeps.workers.pool.warm_up", lambda: None)
    queue, pool = made(retries=1), Pool(1, Mock())
    process = Mock(**{"start.side_effect": EOFError("unexpected EOF")})
    pool.context = Mock(Pipe=multiprocessing.Pipe, Process=lambda **_: process)
    stage = Mock(queue=queue)
    for state, end in ((TrialState.WAITING, "requeued"), (TrialState.FAIL, "failed after too")):
        assert pool._start_next([stage])
        assert (pool.running, queue.trials()[0].state) == ([], state)
        *_, outcome, message = pool.reporter.ended.call_args.args
        assert (outcome, message.partition("; ")[0]) == ("died", "the fork server was killed")
        assert end in message


def test_trials_of_a_dead_host_are_requeued(made, monkeypatch):
    here, there = made(), made()
    monkeypatch.setenv(HOST_ID_VARIABLE, "there")
    trial = there.claim()
    monkeypatch.setenv(HOST_ID_VARIABLE, "here")
    here.liveness = LivenessMonitor(grace=-1)  # dead if unchanged between two checks
    for mark in range(4):
        there.set_attrs(trial, {"heartbeat": float(mark)})
        assert here.reap() == []
    assert here.reap() == [trial.number]
    assert here.claim().number == trial.number


def test_a_process_of_another_host_is_not_looked_up_here(made, monkeypatch):
    """The same host after a restart, or another container: its pids differ from those here."""
    queue = made()
    trial = queue.claim()
    queue.set_attrs(trial, {"claim": {**worker_identity(), "pid": 2**22 + 1}})
    monkeypatch.setenv(HOST_ID_VARIABLE, "after the restart")
    assert queue.reap() == []
