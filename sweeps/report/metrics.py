"""What runs logged while they trained, from their ``metrics.csv``."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Of one run: for each column its steps and values.
Log = Mapping[str, Mapping[int, float]]

_MOST = 120  # points of a curve; more cannot be seen


@dataclass(frozen=True)
class Curve:
    """A column over training: mean over seeds, and the range of their values.

    Attributes:
        name: such as ``L0`` for a layer; empty for the only curve of an arm.
        steps, mean, low, high: all of one length.
    """

    name: str
    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def read_log(folder: Path) -> Log:
    """A run's columns; no columns where the file is missing, blanks and NaN left out."""
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
    """A column over all runs that have it, or None if none has."""
    have = [log[column] for log in logs if column in log]
    steps = _thin(sorted({step for values in have for step in values}))
    if not steps:
        return None
    at = [[values[step] for values in have if step in values] for step in steps]
    return Curve(
        name,
        steps,
        [sum(values) / len(values) for values in at],
        [min(values) for values in at],
        [max(values) for values in at],
    )


def layer_curves(logs: Sequence[Log], column: str) -> list[Curve]:
    """A curve for each layer of ``column/layerN``, in their order."""
    numbers = {
        int(found[1])
        for log in logs
        for name in log
        if (found := re.fullmatch(re.escape(column) + r"/layer(\d+)", name))
    }
    curves = [curve(logs, f"{column}/layer{n}", f"L{n}") for n in sorted(numbers)]
    return [each for each in curves if each is not None]


def _thin(steps: list[int]) -> list[int]:
    if len(steps) <= _MOST:
        return steps
    last = len(steps) - 1
    return [steps[round(i * last / (_MOST - 1))] for i in range(_MOST)]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
