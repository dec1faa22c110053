"""Driver: trials of a former driver, on an engine whose jobs end when a test says so."""

import json
import signal
from unittest.mock import Mock

import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from routers import ConfigError
from sweeps import Engine, Job, StoppedSweepError, open_storage
from sweeps.driver.driver import Driver
from sweeps.driver.queue import Queue, TrialSpec
from sweeps.driver.stage import Stage
from sweeps.workers.job import drop_outcome

DONE, FAILED, STOPPED, PRUNED, DIED = "done", "failed", "stopped", "pruned", "died"
TRIALS = 3


@pytest.fixture
def storage(tmp_path):
    with open_storage(None, tmp_path) as opened:
        yield opened


class Toy(Engine):
    """Jobs that end at the next call, as their entry in ``plan`` says, or continue without one."""

    outlives_driver = True

    def __init__(self, plan=()):
        self.plan = dict(plan)
        self.started, self.jobs, self.alive = [], {}, set()

    def start(self, job, slot):
        self.started.append((job.name, slot))
        self.jobs[job.name] = job
        return {"name": job.name}

    def poll(self):
        ended = []
        for name in [name for name in self.jobs if self.plan.get(name)]:
            kind = self.plan[name].pop(0)
            finish(self.jobs.pop(name), kind)
            ended.append(({"name": name}, "lost"))
        return ended

    def stop(self, handle):
        self.plan[handle["name"]] = [None]  # it was too early for a checkpoint

    def find(self, handle):
        return handle["name"] in self.alive


def finish(job, kind):
    """Leave behind what a job does."""
    if kind == DONE:
        for run, _ in job.runs:
            run.mkdir(parents=True)
            (run / "result.json").write_text("{}")
    if kind is not None:
        job.outcome.write_text(json.dumps({"outcome": kind, "message": f"it {kind}"}))


class Trials(Stage):
    """Three trials whose value is their number."""

    def __init__(self, folder, storage, title="toy"):
        self.folder, self.title = folder, title
        self.queue = Queue(f"s/{title}", storage, ["minimize"], RandomSampler(seed=0), retries=1)
        self.queue.fill([TrialSpec({}, {})] * TRIALS)

    def job(self, trial):
        folder = self.folder / str(trial.number)
        folder.mkdir(exist_ok=True)
        return Job(str(trial.number), "s", self.folder, folder / "log", [(folder / "run", [])])

    def finish(self, trial):
        self.queue.tell(trial, TrialState.COMPLETE, [float(trial.number)])
        return "well"

    def run_dirs(self, trial):
        return [self.folder / str(trial.number) / "run"]

    def kept_checkpoints(self):
        return set()

    def ends(self):
        return [(trial.state.name, trial.user_attrs.get("deaths")) for trial in self.queue.trials()]


def drive(stage, engine, workers=2, name="toy"):
    reporter = Mock(workers=workers)
    Driver(engine, name, reporter).run_all([stage])
    return [call.args[1:] for call in reporter.ended.call_args_list]


def test_ends_of_trials(tmp_path, storage):
    stage = Trials(tmp_path, storage)
    engine = Toy({"0": [FAILED], "1": [DIED, None], "2": [STOPPED, None, DONE]})
    ends = drive(stage, engine)
    assert ends == [
        (0, FAILED, "it failed"),
        (1, DIED, "it died; requeued"),
        (1, DIED, "lost; failed after too many retries"),
        (2, STOPPED, "stopped with a checkpoint"),
        (2, DIED, "lost; requeued"),
        (2, DONE, "well"),
    ]
    assert stage.ends() == [("FAIL", None), ("FAIL", 2), ("COMPLETE", 1)]
    assert {slot for _, slot in engine.started} == {0, 1}


def test_a_driver_adopts_what_a_former_one_started(tmp_path, storage):
    former = Trials(tmp_path, storage)
    former.queue.claim()  # and was killed before it started the job
    driver = Driver(Toy(), "toy", Mock(workers=3))
    for _ in range(TRIALS - 1):
        driver._start(former, former.queue.claim())
    job = former.job(former.queue.trials()[2])
    finish(job, DONE)

    stage, engine = Trials(tmp_path, storage), Toy({"0": [DONE], "1": [DONE]})
    engine.alive.add("1")
    engine.jobs["1"] = former.job(former.queue.trials()[1])
    ends = drive(stage, engine)
    assert [end for end in ends if end[0] == 2] == [(2, DONE, "well")]  # and was not requeued
    assert engine.started == [("0", 1)]  # the others had ended, and still ran in the first slot
    assert [trial.values for trial in stage.queue.trials()] == [[0.0], [1.0], [2.0]]
    assert stage.ends() == [("COMPLETE", None)] * TRIALS


@pytest.mark.parametrize("kind", [PRUNED, FAILED, STOPPED, DIED])
def test_outcomes_that_a_former_driver_did_not_read(tmp_path, storage, kind):
    """What was pruned or failed is not trained again; deaths without a driver do not count."""
    former = Trials(tmp_path, storage)
    trial = former.queue.claim()
    Driver(Toy(), "toy", Mock(workers=1))._start(former, trial)
    finish(former.job(trial), kind)
    stage = Trials(tmp_path, storage)
    engine = Toy({str(number): [DONE] for number in range(TRIALS)})
    drive(stage, engine)
    again = kind in (STOPPED, DIED)
    assert (("0", 0) in engine.started) == again
    state = {PRUNED: "PRUNED", FAILED: "FAIL"}.get(kind, "COMPLETE")
    assert stage.ends() == [(state, None), ("COMPLETE", None), ("COMPLETE", None)]


@pytest.mark.parametrize(
    ("signum", "left"), [(signal.SIGTERM, ["RUNNING"]), (signal.SIGINT, ["WAITING"])]
)
def test_jobs_that_outlive_a_driver_go_on_unless_it_is_ctrl_c(tmp_path, storage, signum, left):
    stage, engine = Trials(tmp_path, storage), Toy()
    accept = engine.start

    def start(job, slot):
        signal.raise_signal(signum)
        return accept(job, slot)

    engine.start, handler = start, signal.getsignal(signum)
    with pytest.raises(StoppedSweepError) as stopped:
        drive(stage, engine, workers=1)
    assert stopped.value.signum == signum
    assert signal.getsignal(signum) is handler
    assert stage.ends() == [(state, None) for state in (*left, "WAITING", "WAITING")]


def test_another_engine_does_not_take_over_jobs_that_may_still_run(tmp_path, storage):
    former = Trials(tmp_path, storage)
    Driver(Toy(), "toy", Mock(workers=1))._start(former, former.queue.claim())
    with pytest.raises(ConfigError, match="toy trial 0 may still run with engine=toy; continue"):
        drive(Trials(tmp_path, storage), Toy(), name="local")


def test_a_job_that_cannot_start_is_a_death_of_the_trial(tmp_path, storage):
    stage, engine = Trials(tmp_path, storage), Toy()
    engine.start = Mock(side_effect=OSError("the fork server was killed"))
    ends = drive(stage, engine, workers=1)
    assert stage.ends() == [("FAIL", 2)] * TRIALS
    assert ends[0] == (0, DIED, "the fork server was killed; requeued")


def test_stages_advance_equally(tmp_path, storage):
    stages = [Trials(tmp_path / title, storage, title) for title in ("one", "other")]
    for stage in stages:
        stage.folder.mkdir()
    engine = Toy({str(number): [DONE] * 2 for number in range(TRIALS)})
    Driver(engine, "toy", Mock(workers=1)).run_all(stages)
    assert [name for name, _ in engine.started] == ["0", "0", "1", "1", "2", "2"]


def test_a_slot_is_free_again_when_its_job_ends(tmp_path, storage):
    engine = Toy({"0": [DONE], "2": [DONE]})
    accept = engine.start

    def start(job, slot):
        if job.name == "2":
            engine.plan["1"] = [DONE]  # which ran until now
        return accept(job, slot)

    engine.start = start
    drive(Trials(tmp_path, storage), engine)
    assert engine.started == [("0", 0), ("1", 1), ("2", 0)]


def test_a_second_signal_asks_again(tmp_path, storage):
    stage, engine = Trials(tmp_path, storage), Toy()
    engine.outlives_driver = False
    accept, asked = engine.start, []

    def start(job, slot):
        signal.raise_signal(signal.SIGTERM)
        return accept(job, slot)

    def stop(handle):
        asked.append(handle["name"])
        if len(asked) == 1:
            signal.raise_signal(signal.SIGTERM)
        engine.plan[handle["name"]] = [STOPPED]

    engine.start, engine.stop = start, stop
    with pytest.raises(StoppedSweepError):
        drive(stage, engine, workers=1)
    assert asked == ["0", "0"]
    assert stage.ends() == [("WAITING", None)] * TRIALS


def test_an_end_that_is_noted_without_results_does_not_count(tmp_path, storage):
    stage = Trials(tmp_path, storage)
    stage.job(stage.queue.trials()[0]).outcome.write_text('{"outcome": "done", "message": ""}')
    engine = Toy({str(number): [DONE] for number in range(TRIALS)})
    drive(stage, engine, workers=1)
    assert [name for name, _ in engine.started] == ["0", "1", "2"]


@pytest.mark.parametrize("kind", [PRUNED, FAILED, STOPPED, DIED])
def test_an_outcome_is_dropped_unless_it_is_final(tmp_path, storage, kind):
    stage = Trials(tmp_path, storage)
    job = stage.job(stage.queue.trials()[0])
    finish(job, kind)
    drop_outcome(job)
    assert job.outcome.exists() == (kind in (PRUNED, FAILED))
