"""Files of a run: curves of its log and its routes, work of experts from ``confusion.csv``."""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..results.files import leaving_out

#: Values of one run by column and step.
Log = Mapping[str, Mapping[int, float]]

_MAX_POINTS = 120  # of a curve; more cannot be seen


@dataclass(frozen=True)
class Curve:
    """A column over training: mean over seeds, and the range of their values, at each step.

    ``name`` is such as ``L0`` for a layer, and empty for the only curve of an arm.
    """

    name: str
    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def read_log(folder: Path) -> Log:
    """Read the log of a run without blanks and NaN; empty where the file is missing or damaged."""
    with leaving_out(path := folder / "metrics.csv"):
        columns: dict[str, dict[int, float]] = {}
        for row in _lines(path):
            step = int(float(row.pop("step")))
            for name, text in row.items():
                with suppress(ValueError):
                    value = float(text or "nan")
                    if math.isfinite(value):
                        columns.setdefault(name, {})[step] = value
        return columns
    return {}


def route_columns(result: Mapping[str, Any]) -> Log:
    """Churn and saturation of each layer's routes over a training, from its ``result.json``.

    >>> kept = {"steps": [0, 50], "churn": [0.25], "saturation": [0.5, 1.0]}
    >>> route_columns({"layers": [{"load": [1, 1], "routes": kept}]})["routes/churn/layer0"]
    {50: 0.25}
    """
    columns: dict[str, dict[int, float]] = {}
    for number, layer in enumerate(result.get("layers") or ()):
        kept = layer.get("routes") or {"steps": [], "churn": [], "saturation": []}
        pairs = {"churn": kept["steps"][1:], "saturation": kept["steps"]}
        for name, steps in pairs.items():
            if steps:
                values = zip(steps, kept[name], strict=False)
                columns[f"routes/{name}/layer{number}"] = dict(values)
    return columns


def curve(logs: Iterable[Log], column: str, name: str = "") -> Curve | None:
    """Return a column over all runs that have it; None if no run has it."""
    have = [log[column] for log in logs if column in log]
    steps = sorted({step for values in have for step in values})
    if not steps:
        return None
    if len(steps) > _MAX_POINTS:
        last = len(steps) - 1
        steps = [steps[round(i * last / (_MAX_POINTS - 1))] for i in range(_MAX_POINTS)]
    seeds = [[values[step] for values in have if step in values] for step in steps]
    return Curve(name, steps, [*map(fmean, seeds)], [*map(min, seeds)], [*map(max, seeds)])


def layer_curves(logs: Sequence[Log], column: str) -> list[Curve]:
    """Return a curve for each layer of ``column/layerN``, by layer number."""
    pattern = re.compile(re.escape(column) + r"/layer(\d+)")
    matches = [pattern.fullmatch(name) for log in logs for name in log]
    numbers = sorted({int(match[1]) for match in matches if match})
    curves = [curve(logs, f"{column}/layer{n}", f"L{n}") for n in numbers]
    return [each for each in curves if each is not None]


@dataclass(frozen=True)
class ExpertTable:
    """Number of rows by expert and kind of sample, from one layer of a run.

    ``by`` is the meaning of the kinds: ``class``, ``language`` or ``gate``; ``rows`` has a list
    per expert, with a number for each kind.
    """

    layer: int
    by: str
    kinds: Sequence[str]
    rows: Sequence[Sequence[float]]


def read_tables(folder: Path) -> list[ExpertTable]:
    """Read the ``confusion.csv`` of a run; empty where the file is missing or damaged."""
    with leaving_out(path := folder / "confusion.csv"):
        tables: dict[tuple[int, str], dict[int, dict[str, float]]] = {}
        for line in _lines(path):
            by, kind, rows = line["by"], line["kind"], float(line["rows"] or 0)
            if by is None or kind is None or not 0 <= rows < math.inf:
                raise ValueError(f"{line}: expected a number of rows of a kind")
            table = tables.setdefault((int(line["layer"]), by), {})
            table.setdefault(int(line["expert"]), {})[kind] = rows
        return [_table(*key, experts) for key, experts in sorted(tables.items())]
    return []


def _table(layer: int, by: str, experts: Mapping[int, Mapping[str, float]]) -> ExpertTable:
    kinds = list(dict.fromkeys(kind for row in experts.values() for kind in row))
    rows = [[experts[e].get(kind, 0.0) for kind in kinds] for e in sorted(experts)]
    return ExpertTable(layer, by, kinds, rows)


def _lines(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file; none where it is missing."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
