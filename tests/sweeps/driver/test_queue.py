"""Queue of trials: exact budgets, even if processes die."""

from contextlib import ExitStack

import pytest
from optuna.trial import TrialState

from sweeps import open_storage
from sweeps.driver.queue import Queue, TrialSpec
from sweeps.search.samplers import SAMPLERS, ReseededSampler

TRIALS = 14


@pytest.fixture
def made(tmp_path):
    """Factory of queues, each as in a process that takes over: it has read nothing yet."""
    opened, storages = ExitStack(), {}

    def make(sampler="random", folder="a", retries=1):
        if folder not in storages:
            home = tmp_path / folder
            home.mkdir()
            storages[folder] = opened.enter_context(open_storage(None, home))
        sampled = ReseededSampler(sampler, 3, "arm")
        queue = Queue("s/arm", storages[folder], ["minimize"], sampled, retries)
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


@pytest.mark.parametrize("sampler", sorted({*SAMPLERS} - {"grid"}))  # which draws at random
def test_stopped_at_every_trial_it_draws_the_same(made, sampler):
    whole = made(sampler, "whole")
    work(whole)
    for stop in (1, 6, 11, 12):
        queue = made(sampler, "stopped")
        work(queue, until=stop)
        trial = queue.claim()  # and dies, sometimes after it has drawn
        if stop % 2:
            trial.suggest_float("x", 0, 1)
        (left,) = made(sampler, "stopped").unsettled()
        assert left.number == trial.number
        queue.requeue(left)
    work(made(sampler, "stopped"))
    assert drawn(made(sampler, "stopped")) == drawn(whole)
    assert len(drawn(whole)) == TRIALS
    assert drawn(whole)[0][1]["x"] == 0.5


def test_a_queue_is_filled_once(made):
    made()
    assert len(made().trials()) == TRIALS


def test_trials_are_read_once_after_each_change(made, monkeypatch):
    queue, reads = made(retries=0), []
    read = queue.study.get_trials

    def counted(**options):
        reads.append(options)
        return read(**options)

    def states():
        return [trial.state.name for trial in queue.trials()]

    monkeypatch.setattr(queue.study, "get_trials", counted)
    changes = [
        queue.claim,
        lambda: queue.requeue(queue.unsettled()[0]),
        lambda: queue.tell(queue.claim(), TrialState.COMPLETE, [1.0]),
        lambda: queue.mark_crashed(queue.claim(), "killed"),
        lambda: queue.enqueue([TrialSpec({}, {})]),
    ]
    for change in changes:
        change()
        reads.clear()
        assert states() == states() == [trial.state.name for trial in read(deepcopy=False)]
        assert len(reads) == 1
    assert states() == ["COMPLETE", "FAIL", *["WAITING"] * (TRIALS - 1)]


def test_no_trial_starts_after_the_queue_closed(made):
    queue = made()
    queue.is_closed = lambda: queue.num_started > 0
    assert queue.claim().number == 0
    assert queue.claim() is None


def test_a_trial_that_keeps_dying_fails(made):
    queue = made(retries=1)
    assert queue.mark_crashed(queue.claim(), "killed")
    trial = queue.claim()
    assert trial.number == 0
    assert not queue.mark_crashed(trial, "killed")
    assert queue.trials()[0].state == TrialState.FAIL
    assert queue.trials()[0].user_attrs["error"] == "killed"
