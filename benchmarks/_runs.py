"""What tables of runs share: commands, rows that are kept, intervals, README.md's markers."""

import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student

from tasks.config.compose import compose, to_yaml

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"

Row = dict[str, Any]


@contextmanager
def finished_run(settings: Sequence[str]) -> Iterator[Path]:
    """The folder of ``python -m tasks SETTINGS``, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "tasks", *settings, f"out={out}"]
        subprocess.run(command, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
        yield out


def result_of(out: Path) -> Row:
    """What a run wrote as its result."""
    return json.loads((out / "result.json").read_text())


def config_hash(settings: Sequence[str]) -> str:
    """Of all that a run's configuration says, files under conf/ and defaults included."""
    return hashlib.sha256(to_yaml(compose(settings)).encode()).hexdigest()[:16]


def read_rows(path: Path) -> list[Row]:
    """The rows kept so far."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def run_missing(path: Path, wanted: Sequence[Row], run: Callable[[Row], Row]) -> None:
    """Run what has no row yet, one at a time; each row is kept as soon as it is there.

    Args:
        path: of the rows. One whose configuration is no longer wanted is dropped.
        wanted: ``arm``, ``seed`` and ``config`` of every row.
        run: from one of these to what it adds.
    """
    keys = ("arm", "seed", "config")
    asked = {tuple(str(row[key]) for key in keys) for row in wanted}
    rows = [row for row in read_rows(path) if tuple(row[key] for key in keys) in asked]
    done = {tuple(row[key] for key in keys) for row in rows}
    for row in wanted:
        if tuple(str(row[key]) for key in keys) in done:
            continue
        rows.append({**row, **run(row)})
        print(rows[-1], flush=True)
        write_rows(path, rows)


def run_anew(path: Path, wanted: Sequence[Row], run: Callable[[Row], Row]) -> None:
    """Run all of ``wanted``; each row takes the place of its arm's and seed's, no other is touched.

    Args:
        path: of the rows.
        wanted: ``arm``, ``seed`` and ``config`` of every row.
        run: from one of these to what it adds.
    """
    for row in wanted:
        new = {**row, **run(row)}
        print(new, flush=True)
        same = (row["arm"], str(row["seed"]))
        rows = read_rows(path)
        places = [i for i, old in enumerate(rows) if (old["arm"], old["seed"]) == same]
        place = places[0] if places else len(rows)
        write_rows(path, [*rows[:place], new, *rows[place + len(places) :]])


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """All rows, in place of those there were; a cell is empty where a row has no such column."""
    new = path.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    new.replace(path)


def interval(values: Sequence[float], digits: int) -> str:
    """Mean and half-width of Student's 95% interval.

    >>> interval([1.0, 2.0, 3.0], 2)
    '2.00 ± 2.48'
    """
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.{digits}f} ± {half:.{digits}f}"


def column(rows: Sequence[Row], name: str) -> list[float]:
    """A column of numbers."""
    return [float(row[name]) for row in rows]


def write_between(name: str, text: str) -> None:
    """Put ``text`` between README.md's markers ``NAME:start`` and ``NAME:end``.

    Raises:
        SystemExit: naming the markers where README.md has none.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    whole = README.read_text()
    if start not in whole or end not in whole:
        raise SystemExit(f"README.md has no place for this table; add the lines {start} and {end}")
    head, rest = whole.split(start)
    README.write_text(f"{head}{start}\n{text}\n{end}{rest.split(end)[1]}")
