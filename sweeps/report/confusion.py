"""Work of each expert by kind of sample, from the ``confusion.csv`` of a run."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExpertTable:
    """Number of rows by expert and kind of sample, from one layer of a run.

    Attributes:
        layer: its number.
        by: the meaning of the kinds: ``class``, ``language``, ``gate``.
        kinds: names of the columns.
        rows: a list per expert, by expert number.
    """

    layer: int
    by: str
    kinds: Sequence[str]
    rows: Sequence[Sequence[float]]


def read_tables(folder: Path) -> list[ExpertTable]:
    """Read the ``confusion.csv`` of a run; an empty list where it has no such file."""
    path = folder / "confusion.csv"
    if not path.exists():
        return []
    tables: dict[tuple[int, str], dict[int, dict[str, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            table = tables.setdefault((int(line["layer"]), line["by"]), {})
            table.setdefault(int(line["expert"]), {})[line["kind"]] = float(line["rows"] or 0)
    return [_table(layer, by, experts) for (layer, by), experts in sorted(tables.items())]


def _table(layer: int, by: str, experts: dict[int, dict[str, float]]) -> ExpertTable:
    kinds = list(dict.fromkeys(kind for row in experts.values() for kind in row))
    rows = [[experts[e].get(kind, 0.0) for kind in kinds] for e in sorted(experts)]
    return ExpertTable(layer, by, kinds, rows)


def shares(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Divide each row by its sum; a row of zeros stays 0.

    >>> shares([[1, 3], [0, 0]])
    [[0.25, 0.75], [0.0, 0.0]]
    """
    sums = [sum(row) for row in rows]
    return [
        [each / total if total else 0.0 for each in row]
        for row, total in zip(rows, sums, strict=True)
    ]


def largest(sums: Sequence[float], most: int) -> list[int]:
    """Return the positions of the largest values, in increasing order.

    >>> largest([3, 1, 2], most=2)
    [0, 2]
    """
    return sorted(sorted(range(len(sums)), key=lambda i: -sums[i])[:most])
