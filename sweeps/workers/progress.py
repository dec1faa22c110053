"""What a sweep shows while it runs: plain lines, or a live table."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from optuna.trial import Trial, TrialState
from rich.console import Console
from rich.live import Live
from rich.table import Table

from .queue import Stage

#: Ends of trials that are told in words beside the table: they need someone's eye.
TOLD = ("failed", "died", "mark_crashed")


class ProgressReporter(ABC):
    """Is told what happens, and shows it.

    Args:
        console: where.
        workers: trials at a time, for the time left.
    """

    def __init__(self, console: Console, workers: int) -> None:
        self.console = console
        self.workers = workers
        self.lines: Sequence[Stage] = ()
        self.what = ""
        self.since: dict[tuple[int, int], float] = {}
        self.seconds: list[float] = []

    @contextmanager
    def showing(self, what: str, lines: Sequence[Stage]) -> Iterator[None]:
        """Show the trials of these lines meanwhile."""
        self.what, self.lines, self.since, self.seconds = what, lines, {}, []
        with self.shown():
            yield

    @abstractmethod
    @contextmanager
    def shown(self) -> Iterator[None]:
        """Whatever is drawn while a part of the sweep runs."""
        yield

    def started(self, line: Stage, trial: Trial) -> None:
        """A trial began."""
        self.since[id(line), trial.number] = time.monotonic()

    def ended(self, line: Stage, number: int, how: str, words: str) -> None:
        """A trial came to its end, or its process did."""
        began = self.since.pop((id(line), number), None)
        if began is not None and how == "done":
            self.seconds.append(time.monotonic() - began)

    def tick(self) -> None:
        """A moment has passed."""
        return

    def counts(self) -> tuple[int, int]:
        """Trials that ended, and all of them."""
        trials = [trial for line in self.lines for trial in line.queue.trials()]
        return sum(trial.state.is_finished() for trial in trials), len(trials)

    def left(self) -> str:
        """The expected time left, in words."""
        done, whole = self.counts()
        if not self.seconds or done == whole:
            return ""
        return f"about {duration((whole - done) * fmean(self.seconds) / self.workers)} left"


class LogLines(ProgressReporter):
    """A line for each trial that ends: for logs."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        done, whole = self.counts()
        if done < whole:
            self._print(f"{self.what}: {whole - done} of {whole} trials to do")
        yield

    def ended(self, line: Stage, number: int, how: str, words: str) -> None:
        super().ended(line, number, how, words)
        done, whole = self.counts()
        name = line.name_of(number)
        parts = [f"{self.what} {done}/{whole}", f"{name} {how}: {words}", self.left()]
        self._print("  ".join(part for part in parts if part))

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)


class LiveTable(ProgressReporter):
    """One row for each line, redrawn as trials end."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        with Live(self._table(), console=self.console, auto_refresh=False, transient=True) as live:
            self._live = live
            yield

    def ended(self, line: Stage, number: int, how: str, words: str) -> None:
        super().ended(line, number, how, words)
        if how in TOLD:
            self.console.print(f"{line.name_of(number)} {how}: {words}", soft_wrap=True)
        self._draw()

    def started(self, line: Stage, trial: Trial) -> None:
        super().started(line, trial)
        self._draw()

    def tick(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        done, whole = self.counts()
        title = f"{self.what}  {done} of {whole} trials  {self.left()}"
        table = Table(title=title, title_justify="left")
        for name in ("", "done", "running", "failed", "best"):
            table.add_column(name, justify="left" if not name else "right")
        now = time.monotonic()
        for line in self.lines:
            trials = line.queue.trials()
            ended = [trial for trial in trials if trial.state.is_finished()]
            failed = sum(trial.state == TrialState.FAIL for trial in ended)
            runs = [
                f"{number} ({duration(now - began)})"
                for (of, number), began in self.since.items()
                if of == id(line)
            ]
            best = line.best()
            table.add_row(
                line.title,
                f"{len(ended)}/{len(trials)}",
                ", ".join(runs),
                str(failed or ""),
                "" if best is None else f"{best:.4g}",
            )
        return table


def duration(seconds: float) -> str:
    """A time that a person reads at a glance.

    >>> duration(42.3), duration(150), duration(7300)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
