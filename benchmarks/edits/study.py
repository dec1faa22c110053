"""Studies of edits: short trainings in this process, seed by seed, and a table under docs/."""

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tasks
from benchmarks.readme_tables.comparison import Row, interval, read_rows, write_rows

#: Settings of every training: one thread, and nothing written that nothing reads.
COMMON = (
    *("trainer.threads=1", "trainer.accelerator=cpu", "trainer.logger=[]"),
    "trainer.checkpoint.best=false",
)


@dataclass(frozen=True)
class Study:
    """Rows of arms that are trained and edited with the same seeds.

    Attributes:
        rows: CSV file with one row per arm and seed.
        seeds: the same for every arm.
        of_seed: trains and measures all arms of a seed in a folder; returns their rows.
    """

    rows: Path
    seeds: Sequence[int]
    of_seed: Callable[[int, Path], list[Row]]

    def of(self, arm: str) -> list[Row]:
        """Rows of an arm, sorted by seed."""
        found = (row for row in read_rows(self.rows) if row["arm"] == arm)
        return sorted(found, key=lambda row: int(row["seed"]))

    def run_missing(self) -> None:
        """Train every seed without rows."""
        import lightning.pytorch  # noqa: F401, whose import sets the levels that quiet changes

        tasks.quiet()
        for seed in self.seeds:
            rows = read_rows(self.rows)
            if str(seed) in {row["seed"] for row in rows}:
                continue
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                found = self.of_seed(seed, Path(folder))
            print(f"seed {seed}: {time.perf_counter() - start:.0f} s", *found, sep="\n", flush=True)
            write_rows(self.rows, [*rows, *({"seed": seed, **row} for row in found)])

    def run_command(self, description: str, write: Callable[[], None]) -> None:
        """Train as the command line asks, then write the table."""
        parser = argparse.ArgumentParser(description=description.partition("\n")[0])
        parser.add_argument("--table", action="store_true", help="train nothing")
        if not parser.parse_args().table:
            self.run_missing()
        write()


def train(out: Path, *settings: str) -> Row:
    """Train a run; returns its ``result.json``."""
    return tasks.train(out, [*COMMON, *settings])


def edit(folder: Path, edits: str, out: Path, *settings: str) -> Row:
    """Edit a run by ``python -m tasks edit``; returns the ``result.json`` of the new folder."""
    words = ["edit", str(folder), f"edits={edits}", f"out={out}", *settings]
    with contextlib.redirect_stdout(io.StringIO()):
        code = tasks.main(words)
    if code:
        raise SystemExit(f"python -m tasks {' '.join(words)}: exit code {code}")
    return tasks.read_json(out / tasks.RESULT)


def scores(rows: Sequence[Row], name: str, digits: int) -> str:
    """Mean of a column and Student's 95% interval."""
    return interval([float(row[name]) for row in rows], digits)


def difference(rows: Sequence[Row], others: Sequence[Row], name: str, digits: int) -> str:
    """Difference of a column from other rows, paired by seed; empty for the same rows."""
    if rows == others:
        return ""
    pairs = zip(rows, others, strict=True)
    return interval([float(one[name]) - float(other[name]) for one, other in pairs], digits)
