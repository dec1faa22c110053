"""Curves over training, from the ``metrics.csv`` of runs."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

#: Values of one run by column and step.
Log = Mapping[str, Mapping[int, float]]

_MAX_POINTS = 120  # of a curve; more cannot be seen


@dataclass(frozen=True)
class Curve:
    """A column over training: mean over seeds, and the range of their values.

    Attributes:
        name: such as ``L0`` for a layer; empty for the only curve of an arm.
        steps, mean, low, high: sequences of equal length.
    """

    name: str
    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def read_log(folder: Path) -> Log:
    """Read the log of a run without blanks and NaN; empty where the file is missing."""
    path = folder / "metrics.csv"
    columns: dict[str, dict[int, float]] = {}
    if not path.exists():
        return columns
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step = int(float(row.pop("step")))
            for name, text in row.items():
                value = _number(text)
                if math.isfinite(value):
                    columns.setdefault(name, {})[step] = value
    return columns


def curve(logs: Iterable[Log], column: str, name: str = "") -> Curve | None:
    """Return a column over all runs that have it; None if no run has it."""
    have = [log[column] for log in logs if column in log]
    steps = _thinned(sorted({step for values in have for step in values}))
    if not steps:
        return None
    seeds = [[values[step] for values in have if step in values] for step in steps]
    return Curve(
        name,
        steps,
        [fmean(values) for values in seeds],
        [min(values) for values in seeds],
        [max(values) for values in seeds],
    )


def layer_curves(logs: Sequence[Log], column: str) -> list[Curve]:
    """Return a curve for each layer of ``column/layerN``, by layer number."""
    numbers = {
        int(found[1])
        for log in logs
        for name in log
        if (found := re.fullmatch(re.escape(column) + r"/layer(\d+)", name))
    }
    curves = [curve(logs, f"{column}/layer{n}", f"L{n}") for n in sorted(numbers)]
    return [each for each in curves if each is not None]


def _thinned(steps: list[int]) -> list[int]:
    if len(steps) <= _MAX_POINTS:
        return steps
    last = len(steps) - 1
    return [steps[round(i * last / (_MAX_POINTS - 1))] for i in range(_MAX_POINTS)]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
