"""Trials in processes of their own, so that one that dies, dies alone."""

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import FrameType
from typing import Any, Protocol

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial

from tasks import death

from ..storage.liveness import BEAT_SECONDS
from .forkserver import warm_up
from .job import DIED, DONE, FAILED, PRUNED, STOPPED, work
from .queue import Stage

#: Seconds between two looks at what other processes do.
LOOK_SECONDS = 0.5

#: Seconds between two looks for trials of dead processes.
REAP_SECONDS = 5.0


class StoppedSweepError(Exception):
    """A signal asked the sweep to stop; its trials left checkpoints."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Watcher(Protocol):
    """Is told what happens."""

    def started(self, line: Stage, trial: Trial) -> None: ...

    def ended(self, line: Stage, number: int, how: str, words: str) -> None: ...

    def tick(self) -> None: ...


@dataclass
class Running:
    """A trial and the process that trains it."""

    line: Stage
    trial: Trial
    process: ForkServerProcess
    link: Connection
    outcome: tuple[str, Any] | None = field(default=None)


class Pool:
    """So many trials at a time.

    Args:
        workers: how many.
        watcher: is told what happens.
    """

    def __init__(self, workers: int, watcher: Watcher) -> None:
        self.workers = workers
        self.watcher = watcher
        self.context = multiprocessing.get_context("forkserver")
        warm_up()
        self.running: list[Running] = []
        self.signum: int | None = None
        self._reaped_at = self._beat_at = -float("inf")

    def run_all(self, lines: Sequence[Stage]) -> None:
        """Work until nothing is left in these lines, here or elsewhere.

        Raises:
            StoppedSweepError: where a signal asked to stop.
        """
        with self._listening():
            try:
                while self.signum is None:
                    self._look_after(lines)
                    while len(self.running) < self.workers and self._start_next(lines):
                        pass
                    if not self.running:
                        if not any(line.open for line in lines):
                            return
                        time.sleep(LOOK_SECONDS)  # another process has the last ones
                    self._listen()
                    self.watcher.tick()
                raise StoppedSweepError(self.signum)
            finally:
                self._stop_all()

    def _look_after(self, lines: Sequence[Stage]) -> None:
        now = time.monotonic()
        if now - self._reaped_at > REAP_SECONDS:
            self._reaped_at = now
            for line in lines:
                for number in line.queue.reap():
                    self.watcher.ended(
                        line, number, "mark_crashed", "its sweep was killed; back in line"
                    )
        if now - self._beat_at > BEAT_SECONDS:
            self._beat_at = now
            for each in self.running:
                each.line.queue.heartbeat(each.trial, time.time())

    def _start_next(self, lines: Sequence[Stage]) -> bool:
        """Start a trial of the line that has started fewest, so that all get on alike."""
        for line in sorted(lines, key=lambda line: line.queue.started):
            if not line.takes_more:
                continue
            trial = line.queue.claim()
            if trial is not None:
                self._start(line, trial)
                return True
        return False

    def _start(self, line: Stage, trial: Trial) -> None:
        try:
            line.draw(trial)
        except UpdateFinishedTrialError:  # who was taken for dead has just ended it
            return
        here, there = self.context.Pipe()
        process = self.context.Process(target=work, args=(line.job(trial), there))
        process.start()
        there.close()
        self.running.append(Running(line, trial, process, here))
        self.watcher.started(line, trial)

    def _listen(self) -> None:
        """Wait a moment for trials to say something, or to end."""
        links: dict[Any, Running] = {each.link: each for each in self.running}
        ends: dict[Any, Running] = {each.process.sentinel: each for each in self.running}
        for ready in wait([*links, *ends], timeout=LOOK_SECONDS):
            if ready in links:
                self._hear(links[ready])
            elif ends[ready] in self.running:
                self._hear(ends[ready])
                self._end(ends[ready])

    def _hear(self, each: Running) -> None:
        try:
            while each.outcome is None and each.link.poll():
                kind, content = each.link.recv()
                if kind == "rung":
                    each.link.send(each.line.goes_on(each.trial, *content))
                else:
                    each.outcome = (kind, content)
        except (EOFError, OSError):  # it is dead or dying: its end tells
            each.process.join(timeout=LOOK_SECONDS)

    def _end(self, each: Running) -> None:
        each.process.join()
        self.running.remove(each)
        each.link.close()
        kind, content = each.outcome or (DIED, death(each.process.exitcode))
        words = ENDS[kind](self, each, content)
        each.process.close()
        self.watcher.ended(each.line, each.trial.number, kind, words)

    def _done(self, each: Running, content: Any) -> str:
        return each.line.finish(each.trial)

    def _failed(self, each: Running, content: Any) -> str:
        each.line.queue.fail(each.trial, content)
        return str(content)

    def _pruned(self, each: Running, content: Any) -> str:
        each.line.queue.prune(each.trial)
        return "others were better at this rung"

    def _stopped(self, each: Running, content: Any) -> str:
        each.line.queue.requeue(each.trial)
        return "stopped with a checkpoint"

    def _died(self, each: Running, content: Any) -> str:
        if self.signum is not None:
            return self._stopped(each, content)
        back = each.line.queue.mark_crashed(each.trial, content)
        return f"{content}; " + ("back in line" if back else "too often, given up")

    def _stop_all(self) -> None:
        """Ask what runs to leave a checkpoint, and wait for it."""
        self.signum = self.signum or signal.SIGTERM
        for each in self.running:
            each.process.terminate()
        while self.running:
            self._listen()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """The first signal asks all trials to stop, a second one kills them."""
        self.signum = None

        def ask(signum: int, frame: FrameType | None) -> None:
            if self.signum is not None:
                for each in self.running:
                    each.process.kill()
            self.signum = signum

        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


#: What follows from how a process ended.
ENDS = {
    DONE: Pool._done,
    FAILED: Pool._failed,
    PRUNED: Pool._pruned,
    STOPPED: Pool._stopped,
    DIED: Pool._died,
}
