"""Jobs of Slurm: by submitit on this machine, and on a cluster of one node."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import Mock

import pytest
from optuna.trial import TrialState

from routers import ConfigError
from sweeps import Job
from sweeps.engines import slurm as module
from sweeps.engines.local import Local
from sweeps.engines.slurm import Slurm

from ...tasks.cases import result_of, untimed
from ...waiting import until
from ..cases import RUN, confirmed, drawn, process_context, states, sweep, trials_of
from .clusters import said, slurm

submitit = pytest.importorskip("submitit", reason="pip install -e '.[slurm]'")

#: A sweep of two jobs: a trial, then a pack of two confirmations.
ONE_TRIAL = ("arms=[topk]", "controls=[]", "trials=1")
PACKED = ("engine=slurm", "engine.pack=2", "workers=2")
LONG = f"run=[{','.join(RUN[:-2])},trainer.max_epochs=8]"


def results(out):
    return {
        path.parent.relative_to(out): untimed(result_of(path.parent))
        for path in out.rglob("result.json")
    }


def job(folder, name, *overrides):
    return Job(name, "s", folder, folder / f"{name}.log", [(folder / name, overrides)])


class Recorder(Slurm):
    """Submits nothing, and answers what a test says."""

    def __init__(self, answer=None, **options):
        super().__init__(**options)
        self.submitted, self.answer = [], answer

    def check_installed(self):
        return

    def submit(self, jobs):
        self.submitted.append([job.name for job in jobs])

    def states(self):
        return self.answer


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("sweeps.engines.slurm.POLL_SECONDS", 0)
    monkeypatch.setattr("sweeps.engines.slurm.QUEUE_SECONDS", -1)


def test_packs_are_submitted_full_or_when_nothing_can_fill_them(tmp_path, quick):
    engine = Recorder(pack=2, answer={"a": "PENDING", "c": "PENDING"})
    handles = [engine.start(job(tmp_path, name), 0) for name in "abcde"]
    assert [handle["slurm"] for handle in handles] == ["a", "a", "c", "c", "e"]
    assert engine.submitted == []
    assert engine.poll() == []
    assert engine.submitted == [["a", "b"], ["c", "d"]]
    engine.answer = {}
    assert [handle["name"] for handle, _ in engine.poll()] == [*"abcd"]
    engine.poll()
    assert engine.submitted[2:] == [["e"]]


@pytest.mark.parametrize(
    ("state", "ends"),
    [("RUNNING", False), ("REQUEUED", False), ("COMPLETING", False), ("OUT_OF_MEMORY", True)],
)
def test_states_of_jobs(tmp_path, quick, state, ends):
    engine = Recorder(answer={"a": state})
    handle = engine.start(job(tmp_path, "a"), 0)
    expected = [(handle, f"its Slurm job a ended: {state}")] if ends else []
    assert engine.poll() == expected
    assert Recorder(answer={"a": state}).find(handle) == (not ends)
    assert not Recorder(answer={"b": state}).find(handle)


def test_an_outcome_that_is_final_ends_a_job_before_slurm_does(tmp_path, quick):
    """After preemption Slurm starts the job again, so an outcome that is not final does not."""
    engine = Recorder(answer={"a": "COMPLETED"})
    one = job(tmp_path, "a")
    engine.start(one, 0)
    assert engine.poll() == []  # a network file system may show its outcome later
    engine.answer = {"a": "RUNNING"}
    one.outcome.write_text('{"outcome": "stopped", "message": ""}')
    assert engine.poll() == []
    one.outcome.write_text('{"outcome": "done", "message": ""}')
    assert len(engine.poll()) == 1


def test_slurm_that_does_not_answer(tmp_path, quick):
    engine = Recorder(answer=None)
    handle = engine.start(job(tmp_path, "a"), 0)
    assert engine.poll() == []
    with pytest.raises(ConfigError, match="squeue fails"):
        Recorder(answer=None).find(handle)
    engine.start(job(tmp_path, "b"), 1)
    other = Recorder()
    other.start(job(tmp_path, "c"), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "submit", Mock(side_effect=ConfigError("sbatch failed")))
        assert engine.poll() == []  # while others run, it tries again
        with pytest.raises(ConfigError, match="sbatch failed"):
            other.poll()
    engine.poll()
    assert engine.submitted == [["a"], ["b"]]


def test_of_several_jobs_with_a_name_one_that_runs_counts(monkeypatch):
    text = "a PENDING\na CANCELLED\nb FAILED\nb RUNNING\nof the same user PENDING\n"
    monkeypatch.setattr(module, "_slurm", lambda *_: CompletedProcess([], 0, text))
    found = Slurm.states(Recorder())
    assert found == {"a": "PENDING", "b": "RUNNING", "of the same user": "PENDING"}


def test_trials_that_were_not_submitted_are_stopped_too(tmp_path, quick, monkeypatch):
    called = []
    monkeypatch.setattr("sweeps.engines.slurm._slurm", lambda *command: called.append(command))
    engine = Recorder(pack=2, answer={})
    handles = [engine.start(job(tmp_path, name), 0) for name in "ab"]
    engine.poll()
    handles = [engine.start(job(tmp_path, "c"), 0)]
    engine.stop(handles[0])
    assert called == [("scancel", "--quiet", "--name=c")]
    assert [handle for handle, _ in engine.poll()] == handles


def test_by_submitit_on_this_machine(tmp_path, monkeypatch):
    """A job with two trials; their results are those of ``local``."""
    submitted = []

    class Executor(submitit.LocalExecutor):
        def submit(self, function, jobs):
            submitted.append(super().submit(function, jobs))
            return submitted[-1]

    def states_of_processes(engine):
        return {"a": "COMPLETED" if submitted[0].done() else "RUNNING"}

    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.5)
    monkeypatch.setattr(Slurm, "check_installed", lambda engine: None)
    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    monkeypatch.setattr(Slurm, "states", states_of_processes)
    found = []
    for name, engine in {"slurm": Slurm(pack=2), "local": Local()}.items():
        (tmp_path / name).mkdir()
        jobs = [job(tmp_path / name, each, *RUN, "trainer.threads=1") for each in "ab"]
        running = [engine.start(each, slot) for slot, each in enumerate(jobs)]
        while running:
            for handle, _ in engine.poll():
                running.remove(handle)
        found.append([untimed(result_of(run)) for each in jobs for run, _ in each.runs])
    assert found[0] == found[1]
    assert len(submitted) == 1
    submitted[0]._process.wait()


@pytest.mark.usefixtures("no_report")
def test_on_a_cluster_of_one_node(tmp_path, monkeypatch):
    """Jobs are asked to stop before their time limit, killed and drained; the driver is killed."""
    local, out = tmp_path / "local", tmp_path / "x"
    more = (*ONE_TRIAL, LONG, *PACKED, "engine.partition=test")
    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.5)
    with slurm() as node:

        def ids():
            return said("squeue", "--noheader", "--states=RUNNING", "--format=%i").split()

        settings = (os.environ["SLURM_CONF"], out, more)
        driver = process_context().Process(target=_drive, args=settings, daemon=True)
        driver.start()
        run = out / "trials" / "topk" / "0000" / "seed-0"
        until((run / "checkpoints" / "last.ckpt").exists)
        first = ids()
        said("scancel", "--signal=USR2", *first)  # as 90 seconds before the limit
        # Slurm notices only after minutes that a job was killed which had just started
        until(lambda: len((run / "command.txt").read_text().splitlines()) == 2)
        second = ids()
        kill_all_that_print_into(out)
        until(lambda: ids() not in ([], second))
        said("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        driver.kill()
        driver.join()
        assert ids()
        said("scontrol", "update", f"nodename={node}", "state=resume")
        assert sweep(out, *more) == 0
    assert sweep(local, *ONE_TRIAL, LONG) == 0
    same_leaderboard(out, local)
    assert len([*out.glob("jobs/*_submitted.pkl")]) == 4  # the next driver found the third
    assert trials_of(out, "topk")[0].user_attrs["deaths"] == 1  # not the one that was asked to stop


def kill_all_that_print_into(folder):
    """As for want of memory: scancel would ask the processes of a job to stop first."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if Path(os.readlink(process / "fd" / "1")).is_relative_to(folder):
                os.kill(int(process.name), signal.SIGKILL)


def _drive(configuration, out, arguments):
    os.environ["SLURM_CONF"] = configuration
    module.QUEUE_SECONDS = 0.5
    sweep(out, *arguments)


def same_leaderboard(out, local):
    """The study, every result and the confirmed seeds are those of ``local``."""
    assert states(out, "topk") == [TrialState.COMPLETE]
    assert confirmed(out) == {"topk": [1000, 1001]}
    assert drawn(out, "topk") == drawn(local, "topk")
    assert results(out) == results(local)
