"""Trainings of several arms with the same seeds: one CSV row per run, and a table under docs/."""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student

from routers.plugins import unknown
from tasks import compose, to_yaml

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Arms of ``python -m tasks`` that are trained with the same seeds.

    Attributes:
        rows: CSV file with one row per arm and seed.
        arms: overrides of ``python -m tasks`` by label.
        seeds: the same for every arm.
        figures: numbers to keep of a finished run, computed from its folder.
        data: name that stands for ``task.data.path`` in configuration hashes, since the real path
            differs between machines; empty for tasks that need no data.
        paths: where in the folder ``data`` those arms find theirs that do not take it whole.
    """

    rows: Path
    arms: dict[str, str]
    seeds: Sequence[int]
    figures: Callable[[Path], Row]
    data: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)

    def settings(self, arm: str, seed: int, data: str = "") -> list[str]:
        """Overrides of one run; ``data`` is the real path."""
        path = Path(data or self.data, self.paths.get(arm, ""))
        place = [f"task.data.path={path}"] if self.data else []
        return [*self.arms[arm].split(), f"seed={seed}", *place]

    def of(self, arm: str) -> list[Row]:
        """Rows of an arm, sorted by seed."""
        return sorted(
            (row for row in read_rows(self.rows) if row["arm"] == arm),
            key=lambda row: int(row["seed"]),
        )

    def wanted(self, arms: Iterable[str]) -> list[Row]:
        """Arm, seed and configuration hash of every run of these arms."""
        return [
            {"arm": arm, "seed": seed, "config": config_hash(self.settings(arm, seed))}
            for arm in arms
            for seed in self.seeds
        ]

    def run(self, row: Row, data: str = "") -> Row:
        """Train one run; its row, with the wall-clock seconds of the command."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            start = time.perf_counter()
            train([*self.settings(row["arm"], row["seed"], data), f"out={out}"])
            seconds = round(time.perf_counter() - start, 1)
            return {**row, "seconds": seconds, **self.figures(out)}

    def run_missing(self, data: str = "") -> None:
        """Train every run without a row; rows of outdated configurations are replaced."""
        wanted = self.wanted(self.arms)
        current = {_key(row) for row in wanted}
        rows = [row for row in read_rows(self.rows) if _key(row) in current]
        done = {_key(row) for row in rows}
        for row in wanted:
            if _key(row) not in done:
                rows.append(self.run(row, data))
                print(rows[-1], flush=True)
                write_rows(self.rows, rows)

    def run_again(self, arms: Iterable[str], data: str = "") -> None:
        """Train all runs of these arms; each row replaces the one of the same arm and seed."""
        for row in self.wanted(arms):
            new = self.run(row, data)
            print(new, flush=True)
            same = (row["arm"], str(row["seed"]))
            rows = read_rows(self.rows)
            places = [i for i, old in enumerate(rows) if (old["arm"], old["seed"]) == same]
            place = places[0] if places else len(rows)
            write_rows(self.rows, [*rows[:place], new, *rows[place + len(places) :]])

    def run_command(
        self, description: str, write: Callable[[], None], arguments: Sequence[str] | None = None
    ) -> None:
        """Train as the command line asks, then write the table.

        Raises:
            SystemExit: for an unknown arm.
        """
        parser = argparse.ArgumentParser(description=description.partition("\n")[0])
        parser.add_argument("arm", nargs="*", help="arms to train again, as named in the table")
        parser.add_argument("--table", action="store_true", help="only write the table")
        if self.data:
            help_ = f"path of {self.data}; without it only the table is written"
            parser.add_argument("--data", type=Path, help=help_)
        given = parser.parse_args(arguments)
        labels = {plain(arm): arm for arm in self.arms}
        for name in given.arm:
            if name not in labels:
                raise SystemExit(str(unknown("arm", name, labels)))
        path = getattr(given, "data", None)
        data = str(path.resolve(strict=True)) if path else ""
        if not given.table and bool(data) == bool(self.data):
            if given.arm:
                self.run_again((labels[name] for name in given.arm), data)
            else:
                self.run_missing(data)
        write()


def train(settings: Sequence[str]) -> None:
    """Run ``python -m tasks SETTINGS`` in a separate process."""
    command = [sys.executable, "-m", "tasks", *settings]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def result_of(out: Path) -> Row:
    """The contents of a run's ``result.json``."""
    return json.loads((out / "result.json").read_text())


def config_hash(settings: Sequence[str]) -> str:
    """Hash of a run's complete configuration, including files under conf/ and defaults."""
    return hashlib.sha256(to_yaml(compose(settings)).encode()).hexdigest()[:16]


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Replace a CSV file; cells of columns that a row lacks are empty."""
    new = path.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    new.replace(path)


def plain(arm: str) -> str:
    """An arm's label without markup, as the command line takes it."""
    return arm.replace("`", "")


def column(rows: Sequence[Row], name: str) -> list[float]:
    """Numbers of one column."""
    return [float(row[name]) for row in rows]


def average(rows: Sequence[Row], name: str) -> float:
    """Mean of one column."""
    return mean(column(rows, name))


def interval(values: Sequence[float], digits: int) -> str:
    """Mean and half-width of Student's 95% interval; the value alone if there is one.

    >>> interval([1.0, 2.0, 3.0], 2)
    '2.00 ± 2.48'
    """
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.{digits}f} ± {half:.{digits}f}"


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    rows = [f"| {' | '.join(cells)} |" for cells in [headings, *lines]]
    return "\n".join([rows[0], "|---" * len(headings) + "|", *rows[1:]])


def write_between(page: str, name: str, text: str) -> None:
    """Put ``text`` between the markers ``NAME:start`` and ``NAME:end`` of a page under docs/.

    Raises:
        SystemExit: if the page lacks these markers.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    path = DOCS / page
    whole = path.read_text(encoding="utf-8")
    if start not in whole or end not in whole:
        raise SystemExit(f"docs/{page} has no markers: add the lines {start} and {end}")
    head, rest = whole.split(start)
    new = path.with_suffix(".new")
    new.write_text(f"{head}{start}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")
    new.replace(path)


def _key(row: Row) -> tuple[str, str, str]:
    return row["arm"], str(row["seed"]), row["config"]
