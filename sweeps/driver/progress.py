"""Progress of a sweep on the console: log lines or a live table."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from optuna.trial import Trial, TrialState
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ..workers.job import CRASHED, DIED, DONE, FAILED
from .stage import Stage


class ProgressReporter(ABC):
    """Receives the progress of ``workers`` trials at a time and displays it on a console."""

    def __init__(self, console: Console, workers: int) -> None:
        self.console = console
        self.workers = workers
        self.stages: Sequence[Stage] = ()
        self.phase = ""
        self.start_times: dict[tuple[int, int], float] = {}
        self.seconds: list[float] = []

    @contextmanager
    def reporting(self, phase: str, stages: Sequence[Stage]) -> Iterator[None]:
        """Display the trials of these stages in the context."""
        self.phase, self.stages, self.start_times, self.seconds = phase, stages, {}, []
        with self.display():
            yield

    @abstractmethod
    @contextmanager
    def display(self) -> Iterator[None]:
        """Context in which the display is active."""
        yield

    def started(self, stage: Stage, trial: Trial) -> None:
        """Record that a trial started."""
        self.start_times[id(stage), trial.number] = time.monotonic()

    def ended(self, stage: Stage, number: int, outcome: str, message: str) -> None:
        """Record that a trial or its process ended."""
        start = self.start_times.pop((id(stage), number), None)
        if start is not None and outcome == DONE:
            self.seconds.append(time.monotonic() - start)

    def note(self, text: str) -> None:
        """Print a line between phases."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def dropped(self, runs: int) -> None:
        """Print that finished runs lost checkpoints that an earlier call of the sweep had kept."""
        what = "removed checkpoints of finished runs, which checkpoints= does not keep"
        self.note(f"{self.phase}: {what}: {runs} runs")

    def tick(self) -> None:
        """Update the display; called at least twice a second."""
        return

    def counts(self) -> tuple[int, int]:
        """Number of finished trials and of all trials."""
        trials = [trial for stage in self.stages for trial in stage.queue.trials()]
        return sum(trial.state.is_finished() for trial in trials), len(trials)

    def remaining(self) -> str:
        """The expected remaining time as text; empty if unknown."""
        done, total = self.counts()
        if not self.seconds or done == total:
            return ""
        return f"about {duration((total - done) * fmean(self.seconds) / self.workers)} left"


class LogLines(ProgressReporter):
    """Prints a line for each trial that ends."""

    @contextmanager
    def display(self) -> Iterator[None]:
        done, total = self.counts()
        if done < total:
            self.note(f"{self.phase}: {total - done} of {total} trials to do")
        yield

    def ended(self, stage: Stage, number: int, outcome: str, message: str) -> None:
        super().ended(stage, number, outcome, message)
        done, total = self.counts()
        name = stage.name_of(number)
        parts = [f"{self.phase} {done}/{total}", f"{name} {outcome}: {message}", self.remaining()]
        self.note("  ".join(part for part in parts if part))


class LiveTable(ProgressReporter):
    """Shows one row for each stage, updated as trials end."""

    @contextmanager
    def display(self) -> Iterator[None]:
        with Live(self._table(), console=self.console, auto_refresh=False, transient=True) as live:
            self._live = live
            yield

    def ended(self, stage: Stage, number: int, outcome: str, message: str) -> None:
        super().ended(stage, number, outcome, message)
        if outcome in (FAILED, DIED, CRASHED):  # they need attention
            self.console.print(f"{stage.name_of(number)} {outcome}: {message}", soft_wrap=True)
        self.tick()

    def started(self, stage: Stage, trial: Trial) -> None:
        super().started(stage, trial)
        self.tick()

    def tick(self) -> None:
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        done, total = self.counts()
        title = f"{self.phase}  {done} of {total} trials  {self.remaining()}"
        table = Table(title=title, title_justify="left")
        for name in ("", "done", "running", "failed", "best"):
            table.add_column(name, justify="left" if not name else "right")
        now = time.monotonic()
        for stage in self.stages:
            trials = stage.queue.trials()
            finished = [trial for trial in trials if trial.state.is_finished()]
            failed = sum(trial.state == TrialState.FAIL for trial in finished)
            starts = self.start_times.items()
            running = [f"{n} ({duration(now - t)})" for (of, n), t in starts if of == id(stage)]
            value = stage.best()
            best = "" if value is None else f"{value:.4g}"
            ended = f"{len(finished)}/{len(trials)}"
            table.add_row(stage.title, ended, ", ".join(running), str(failed or ""), best)
        return table


def duration(seconds: float) -> str:
    """Format a time with a unit.

    >>> duration(42.3), duration(150), duration(7300)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
