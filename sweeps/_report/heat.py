"""Which expert works on what: one row per expert, one column per kind, small multiples."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .marks import Boxes, Figure, Line, Mark, Panel, Text
from .widths import shortened, text_width

_WIDTH, _LEFT, _TOP = 200.0, 26.0, 6.0
_LEVELS = 12  # shades: cells of one shade are one path, which keeps the page small
_MOST_EXPERTS, _MOST_KINDS = 64, 40
_TALLEST, _HIGHEST = 14.0, 180.0


@dataclass(frozen=True)
class Table:
    """Rows of each expert by kind, from one run and layer.

    Attributes:
        layer: its number.
        by: what the kinds are: ``class``, ``language``, ``gate``.
        kinds: names of the columns.
        rows: a list per expert, in their order.
    """

    layer: int
    by: str
    kinds: Sequence[str]
    rows: Sequence[Sequence[float]]


def read_tables(folder: Path) -> list[Table]:
    """The tables of a run's ``confusion.csv``; none where it has no such file."""
    path = folder / "confusion.csv"
    if not path.exists():
        return []
    tables: dict[tuple[int, str], dict[int, dict[str, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            table = tables.setdefault((int(line["layer"]), line["by"]), {})
            table.setdefault(int(line["expert"]), {})[line["kind"]] = float(line["rows"] or 0)
    return [_table(layer, by, experts) for (layer, by), experts in sorted(tables.items())]


def _table(layer: int, by: str, experts: dict[int, dict[str, float]]) -> Table:
    kinds = list(dict.fromkeys(kind for row in experts.values() for kind in row))
    rows = [[experts[e].get(kind, 0.0) for kind in kinds] for e in sorted(experts)]
    return Table(layer, by, kinds, rows)


def shares(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Each row over its sum; a row of nothing stays 0.

    >>> shares([[1, 3], [0, 0]])
    [[0.25, 0.75], [0.0, 0.0]]
    """
    sums = [sum(row) for row in rows]
    return [
        [each / total if total else 0.0 for each in row]
        for row, total in zip(rows, sums, strict=True)
    ]


def heat_figure(tables: Sequence[tuple[str, Table]], caption: str) -> Figure | None:
    """A panel for each arm and table that has several experts; shades compare where kinds do."""
    shown = [(label, table) for label, table in tables if len(table.rows) > 1]
    if not shown:
        return None
    largest: dict[str, float] = {}
    for _, table in shown:
        top = max((value for row in shares(table.rows) for value in row), default=0.0)
        largest[table.by] = max(top, largest.get(table.by, 0.0)) or 1.0
    panels = [_legend(by, top) for by, top in largest.items()]
    panels += [_panel(label, table, largest[table.by]) for label, table in shown]
    return Figure("who", "Who does what", caption, panels)


def _legend(by: str, largest: float) -> Panel:
    """What the shades mean."""
    wide = (_WIDTH - _LEFT) / (_LEVELS + 1)
    marks: list[Mark] = [
        Boxes([(_LEFT + level * wide, _TOP, wide - 0.5, 12)], *_shade(level))
        for level in range(_LEVELS + 1)
    ]
    marks += [
        Text(_LEFT, _TOP + 26, "0"),
        Text(_WIDTH, _TOP + 26, f"{largest:.0%}", "end"),
        Text((_LEFT + _WIDTH) / 2, _TOP + 26, "of an expert's work", "middle"),
    ]
    alt = f"Shades from 0 to {largest:.0%} of an expert's work, by {by}"
    return Panel(_WIDTH, _TOP + 32, f"Shades, by {by}", alt, marks)


def _shade(level: int) -> tuple[str, float]:
    return ("heat", level / _LEVELS) if level else ("faint", 0.35)


def _panel(label: str, table: Table, largest: float) -> Panel:
    whole = shares(table.rows)
    # what an expert has most of is measured before anything is left out
    top = [max(range(len(row)), key=row.__getitem__) for row in whole]
    cells = [row[:_MOST_KINDS] for row in whole[:_MOST_EXPERTS]]
    kinds = table.kinds[:_MOST_KINDS]
    pitch = (_WIDTH - _LEFT) / len(kinds)
    rise = min(_TALLEST, _HIGHEST / len(cells))
    bottom = _TOP + rise * len(cells)
    marks: list[Mark] = [Boxes([(_LEFT, _TOP, _WIDTH - _LEFT, bottom - _TOP)], *_shade(0))]
    marks += _shades(cells, pitch, rise, largest)
    marks += _expert_names(len(cells), rise)
    marks += _kind_names(kinds, pitch, bottom)
    cut = _cut(table)
    marks.append(Text(_WIDTH, bottom + 27, f"{table.by}{cut}", "end", size=10))
    alt = (
        f"{label}, layer {table.layer}: what each expert has most of, by {table.by}: "
        + ", ".join(
            f"expert {e} {table.kinds[k]} ({row[k]:.0%})"
            for e, (row, k) in enumerate(zip(cells, top, strict=False))
        )
    )
    title = f"{label} · layer {table.layer}"
    return Panel(_WIDTH, bottom + 32, title, alt, marks, label)


def _shades(
    cells: Sequence[Sequence[float]], pitch: float, rise: float, largest: float
) -> list[Mark]:
    """Cells, all of one shade as one mark."""
    levels: dict[int, list[tuple[float, float, float, float]]] = {}
    for e, row in enumerate(cells):
        for k, value in enumerate(row):
            level = round(_LEVELS * value / largest)
            if level:
                box = (_LEFT + k * pitch, _TOP + e * rise, pitch - 0.5, rise - 0.5)
                levels.setdefault(level, []).append(box)
    return [Boxes(levels[level], *_shade(level)) for level in sorted(levels)]


def _expert_names(experts: int, rise: float) -> list[Mark]:
    every = 1 if rise >= 9 else 2 if rise >= 5.5 else 4 if rise >= 3.5 else 8
    return [
        Text(_LEFT - 4, _TOP + (e + 0.5) * rise + 3, f"{e}", "end", size=9)
        for e in range(0, experts, every)
    ]


def _kind_names(kinds: Sequence[str], pitch: float, bottom: float) -> list[Mark]:
    """All names where they fit, else the first and the last."""
    if all(text_width(kind, 9) <= pitch - 1 for kind in kinds):
        return [
            Text(_LEFT + (k + 0.5) * pitch, bottom + 12, kind, "middle", size=9)
            for k, kind in enumerate(kinds)
        ]
    room = 0.45 * (_WIDTH - _LEFT)
    ticks = [Line([(at, bottom), (at, bottom + 3)], "muted", 1) for at in (_LEFT, _WIDTH - 0.5)]
    first, last = (shortened(kind, room, 9) for kind in (kinds[0], kinds[-1]))
    return [
        *ticks,
        Text(_LEFT, bottom + 12, first, size=9),
        Text(_WIDTH, bottom + 12, last, "end", size=9),
    ]


def _cut(table: Table) -> str:
    parts = []
    if len(table.rows) > _MOST_EXPERTS:
        parts.append(f"first {_MOST_EXPERTS} of {len(table.rows)} experts")
    if len(table.kinds) > _MOST_KINDS:
        parts.append(f"first {_MOST_KINDS} of {len(table.kinds)}")
    return f" ({', '.join(parts)})" if parts else ""
