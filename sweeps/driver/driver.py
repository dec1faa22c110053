"""Driver: the process that starts the trials of a sweep and settles how they ended."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from optuna.trial import Trial, TrialState

from routers import ConfigError
from tasks import StoppedError

from ..engines import Engine, Handle
from ..workers.job import (
    CRASHED,
    DIED,
    DONE,
    FAILED,
    FINAL,
    PRUNED,
    STOPPED,
    Job,
    drop_outcome,
    outcome_of,
)
from .progress import ProgressReporter
from .stage import Stage

#: Attribute of a trial: the name of the engine that runs its job, whether that continues without a
#: driver, and the job's handle.
HANDLE = "handle"


class StoppedSweepError(StoppedError):
    """A signal stopped the sweep; its trials wrote checkpoints, or continue without it."""


@dataclass
class RunningTrial:
    """A trial whose job runs in one of the slots."""

    stage: Stage
    trial: Trial
    job: Job
    slot: int
    handle: Handle


class Driver:
    """Runs as many trials at a time as the reporter says on an engine, which has a ``name``."""

    def __init__(self, engine: Engine, name: str, reporter: ProgressReporter) -> None:
        self.engine, self.name = engine, name
        self.workers = reporter.workers
        self.reporter = reporter
        self.running: list[RunningTrial] = []
        self.signum: int | None = None

    def run_all(self, stages: Sequence[Stage]) -> None:
        """Run trials until none of these stages has any left.

        Raises:
            StoppedSweepError: if a signal stopped the sweep.
            ConfigError: if the engine cannot run them.
        """
        with self._signal_handlers():
            try:
                self._adopt(stages)
                while self.signum is None:
                    while len(self.running) < self.workers and self._start_next(stages):
                        pass
                    if not self.running:
                        # of trials that finished before, or when a former driver was killed
                        if dropped := sum(stage.drop_checkpoints() for stage in stages):
                            self.reporter.dropped(dropped)
                        return
                    self._poll()
                raise StoppedSweepError(self.signum)
            finally:
                self._leave()

    def _adopt(self, stages: Sequence[Stage]) -> None:
        """Settle the trials of a former driver that have ended, watch those that still run."""
        for stage in stages:
            for trial in stage.queue.unsettled():
                if HANDLE not in trial.user_attrs:  # it was killed before it started the trial
                    stage.queue.requeue(trial)
                    continue
                engine, outlives_driver, handle = trial.user_attrs[HANDLE]
                job = stage.job(trial)
                if self._settle_ended(stage, trial, job):
                    continue
                if engine != self.name and outlives_driver:
                    raise ConfigError(
                        f"engine={self.name}: {stage.name_of(trial.number)} may still run with "
                        f"engine={engine}; continue with that until its trials have ended"
                    )
                if engine == self.name and self.engine.find(handle):
                    self._watch(stage, trial, job, handle)
                else:
                    stage.queue.requeue(trial)
                    message = "its sweep was killed; requeued"
                    self.reporter.ended(stage, trial.number, CRASHED, message)

    def _start_next(self, stages: Sequence[Stage]) -> bool:
        """Start a trial of the stage that has started fewest, so that all advance equally."""
        for stage in sorted(stages, key=lambda stage: stage.queue.num_started):
            if (trial := stage.queue.claim()) is not None:
                self._start(stage, trial)
                return True
        return False

    def _start(self, stage: Stage, trial: Trial) -> None:
        stage.suggest(trial)
        job = stage.job(trial)
        if self._settle_ended(stage, trial, job):
            return
        drop_outcome(job)
        try:
            handle = self.engine.start(job, self._free_slot())
        except OSError as error:
            self._settle(stage, trial, DIED, str(error))
            return
        trial.set_user_attr(HANDLE, [self.name, self.engine.outlives_driver, handle])
        self._watch(stage, trial, job, handle)

    def _watch(self, stage: Stage, trial: Trial, job: Job, handle: Handle) -> None:
        self.running.append(RunningTrial(stage, trial, job, self._free_slot(), handle))
        self.reporter.started(stage, trial)

    def _free_slot(self) -> int:
        return min({*range(len(self.running) + 1)} - {each.slot for each in self.running})

    def _poll(self) -> None:
        """Settle the trials whose jobs ended; waits briefly for one."""
        for handle, reason in self.engine.poll():
            each = next(each for each in self.running if each.handle == handle)
            self.running.remove(each)
            self._settle(each.stage, each.trial, *(outcome_of(each.job) or (DIED, reason)))
        self.reporter.tick()

    def _settle_ended(self, stage: Stage, trial: Trial, job: Job) -> bool:
        """Settle a trial that has ended already; returns whether it has."""
        outcome = outcome_of(job)
        if outcome is None or outcome[0] not in FINAL:
            return False
        self._settle(stage, trial, *outcome)
        return True

    def _settle(self, stage: Stage, trial: Trial, kind: str, message: str) -> None:
        """Update the queue after a job ended."""
        queue = stage.queue
        if kind == DONE:
            message = stage.finish(trial)
        elif kind == FAILED:
            queue.fail(trial, message)
        elif kind == PRUNED:
            queue.tell(trial, TrialState.PRUNED)
        elif kind == STOPPED or self.signum is not None:
            queue.requeue(trial)
            message = "stopped with a checkpoint"
        else:
            requeued = queue.mark_crashed(trial, message)
            message += "; requeued" if requeued else "; failed after too many retries"
        stage.drop_checkpoints(trial.number)
        self.reporter.ended(stage, trial.number, kind, message)

    def _leave(self) -> None:
        """Ask running trials to write a checkpoint, and wait for them.

        Jobs that can continue without a driver do, unless somebody pressed Ctrl-C.
        """
        self.signum = self.signum or signal.SIGTERM
        if self.engine.outlives_driver and self.signum != signal.SIGINT:
            return
        for each in self.running:
            self.engine.stop(each.handle)
        while self.running:
            self._poll()

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        """The first signal asks all trials to stop, a second one kills them."""
        self.signum = None

        def stop(signum: int, frame: FrameType | None) -> None:
            if self.signum is not None:
                for each in self.running:
                    self.engine.stop(each.handle)
            self.signum = signum

        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
