"""Pool that runs each trial in its own process, so that a crash affects only that trial."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from tasks import StoppedError, death

from ..storage.liveness import HEARTBEAT_SECONDS
from .forkserver import trial_context, warm_up
from .job import CRASHED, DIED, DONE, FAILED, PRUNED, STOPPED, work
from .progress import ProgressReporter
from .stage import Stage

#: Seconds between two checks of the trials of other processes.
POLL_SECONDS = 0.5

#: Seconds between two searches for trials of dead processes.
REAP_SECONDS = 5.0


class StoppedSweepError(StoppedError):
    """A signal stopped the sweep; its trials wrote checkpoints."""


@dataclass
class RunningTrial:
    """A trial and the process that trains it."""

    stage: Stage
    trial: Trial
    process: BaseProcess
    link: Connection
    outcome: tuple[str, Any] | None = None


class Pool:
    """Worker processes that run ``workers`` trials at a time."""

    def __init__(self, workers: int, reporter: ProgressReporter) -> None:
        self.workers = workers
        self.reporter = reporter
        self.context = trial_context()
        warm_up()
        self.running: list[RunningTrial] = []
        self.signum: int | None = None
        self._last_reap = self._last_heartbeat = -float("inf")

    def run_all(self, stages: Sequence[Stage]) -> None:
        """Run trials until none of these stages has any left, here or in other processes.

        Raises:
            StoppedSweepError: if a signal stopped the sweep.
        """
        with self._signal_handlers():
            try:
                while self.signum is None:
                    self._reap_and_heartbeat(stages)
                    while len(self.running) < self.workers and self._start_next(stages):
                        pass
                    if not self.running:
                        if not any(stage.queue.is_open for stage in stages):
                            # of trials that finished before, or in a process that is now dead
                            if dropped := sum(stage.drop_checkpoints() for stage in stages):
                                self.reporter.dropped(dropped)
                            return
                        time.sleep(POLL_SECONDS)  # another process runs the last trials
                    self._poll()
                    self.reporter.tick()
                raise StoppedSweepError(self.signum)
            finally:
                self._stop_all()

    def _reap_and_heartbeat(self, stages: Sequence[Stage]) -> None:
        now = time.monotonic()
        if now - self._last_reap > REAP_SECONDS:
            self._last_reap = now
            for stage in stages:
                for number in stage.queue.reap():
                    self.reporter.ended(stage, number, CRASHED, "its sweep was killed; requeued")
        if now - self._last_heartbeat > HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            for each in self.running:
                each.stage.queue.set_attrs(each.trial, {"heartbeat": time.time()})

    def _start_next(self, stages: Sequence[Stage]) -> bool:
        """Start a trial of the stage that has started fewest, so that all advance equally."""
        for stage in sorted(stages, key=lambda stage: stage.queue.num_started):
            if (trial := stage.queue.claim()) is not None:
                self._start(stage, trial)
                return True
        return False

    def _start(self, stage: Stage, trial: Trial) -> None:
        try:
            stage.suggest(trial)
        except UpdateFinishedTrialError:  # its former process, declared dead, has just finished it
            return
        warm_up()  # again, if the fork server or its resource tracker was killed
        here, there = self.context.Pipe()
        process = self.context.Process(target=work, args=(stage.job(trial), there))
        try:
            process.start()
        except (EOFError, ConnectionError):  # the next start restarts the fork server
            here.close()
            there.close()
            message = self._settle(stage, trial, DIED, "the fork server was killed")
            self.reporter.ended(stage, trial.number, DIED, message)
            return
        there.close()
        self.running.append(RunningTrial(stage, trial, process, here))
        self.reporter.started(stage, trial)

    def _poll(self) -> None:
        """Wait briefly for messages of trials and for the end of processes."""
        owners: dict[Any, RunningTrial] = {
            ready: each for each in self.running for ready in (each.link, each.process.sentinel)
        }
        for ready in wait(owners, timeout=POLL_SECONDS):
            each = owners[ready]
            if each in self.running:
                self._receive(each)
                if ready == each.process.sentinel:
                    self._end(each)

    def _receive(self, each: RunningTrial) -> None:
        try:
            while each.outcome is None and each.link.poll():
                kind, content = each.link.recv()
                if kind == "rung":
                    each.link.send(each.stage.should_continue(each.trial, *content))
                else:
                    each.outcome = (kind, content)
        except (EOFError, OSError):  # the process is ending, and its exit code has the reason
            each.process.join(timeout=POLL_SECONDS)

    def _end(self, each: RunningTrial) -> None:
        each.process.join()
        self.running.remove(each)
        each.link.close()
        kind, content = each.outcome or (DIED, death(each.process.exitcode))
        message = self._settle(each.stage, each.trial, kind, content)
        each.stage.drop_checkpoints(each.trial.number)
        each.process.close()
        self.reporter.ended(each.stage, each.trial.number, kind, message)

    def _settle(self, stage: Stage, trial: Trial, kind: str, content: Any) -> str:
        """Update the queue after a trial ended, and return a message."""
        queue = stage.queue
        if kind == DONE:
            return stage.finish(trial)
        if kind == FAILED:
            queue.fail(trial, content)
            return str(content)
        if kind == PRUNED:
            queue.tell(trial, TrialState.PRUNED)
            return "others were better at this rung"
        if kind == STOPPED or self.signum is not None:
            queue.requeue(trial)
            return "stopped with a checkpoint"
        requeued = queue.mark_crashed(trial, content)
        return f"{content}; " + ("requeued" if requeued else "failed after too many retries")

    def _stop_all(self) -> None:
        """Ask running trials to write a checkpoint, and wait for them."""
        self.signum = self.signum or signal.SIGTERM
        for each in self.running:
            each.process.terminate()
        while self.running:
            self._poll()

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        """The first signal asks all trials to stop, a second one kills them."""
        self.signum = None

        def stop(signum: int, frame: FrameType | None) -> None:
            if self.signum is not None:
                for each in self.running:
                    each.process.kill()
            self.signum = signum

        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
