"""Which expert works on what: one row per expert, one column per kind, small multiples."""

import math
from collections.abc import Sequence

from .marks import Boxes, Figure, Line, Mark, Panel, Text
from .tables import Table, largest, shares
from .widths import shortened, text_width

_WIDTH, _LEFT, _TOP = 200.0, 26.0, 6.0
# Shades: cells of one shade are one path, which keeps the page small. They follow the root of
# the share, or one specialist would leave all generalists white.
_LEVELS = 12
_MOST_EXPERTS, _MOST_KINDS = 64, 40
_TALLEST, _HIGHEST = 14.0, 180.0
_SPOKEN = 16  # experts that the words for a panel name


def heat_figure(tables: Sequence[tuple[str, Table]], caption: str) -> Figure | None:
    """A panel for each arm and table that has several experts; shades compare where kinds do."""
    shown = [(label, table) for label, table in tables if len(table.rows) > 1]
    if not shown:
        return None
    darkest: dict[str, float] = {}
    for _, table in shown:
        top = max((value for row in shares(table.rows) for value in row), default=0.0)
        darkest[table.by] = max(top, darkest.get(table.by, 0.0)) or 1.0
    panels = [_legend(by, top) for by, top in darkest.items()]
    panels += [_panel(label, table, darkest[table.by]) for label, table in shown]
    return Figure("who", "Who does what", caption, panels)


def _legend(by: str, darkest: float) -> Panel:
    """What the shades mean."""
    wide = (_WIDTH - _LEFT) / (_LEVELS + 1)
    marks: list[Mark] = [
        Boxes([(_LEFT + level * wide, _TOP, wide - 0.5, 12)], *_shade(level))
        for level in range(_LEVELS + 1)
    ]
    marks += [
        Text(_LEFT, _TOP + 26, "0"),
        Text((_LEFT + _WIDTH) / 2, _TOP + 26, f"{darkest / 4:.0%}", "middle"),
        Text(_WIDTH, _TOP + 26, f"{darkest:.0%}", "end"),
    ]
    title = f"Share of an expert's work, by {by}"
    return Panel(_WIDTH, _TOP + 32, title, f"{title}: shades from 0 to {darkest:.0%}", marks)


def _shade(level: int) -> tuple[str, float]:
    return ("heat", level / _LEVELS) if level else ("faint", 0.35)


def _panel(label: str, table: Table, darkest: float) -> Panel:
    whole = shares(table.rows)
    experts = largest([sum(row) for row in table.rows], _MOST_EXPERTS)
    columns = largest([sum(column) for column in zip(*table.rows, strict=True)], _MOST_KINDS)
    cells = [[whole[e][k] for k in columns] for e in experts]
    pitch = (_WIDTH - _LEFT) / len(columns)
    rise = min(_TALLEST, _HIGHEST / len(experts))
    bottom = _TOP + rise * len(experts)
    marks: list[Mark] = [Boxes([(_LEFT, _TOP, _WIDTH - _LEFT, bottom - _TOP)], *_shade(0))]
    marks += _shades(cells, pitch, rise, darkest)
    marks += _expert_names(experts, rise)
    marks += _kind_names([table.kinds[k] for k in columns], pitch, bottom)
    foot = shortened(_foot(table), _WIDTH, 10)
    marks.append(Text(_WIDTH, bottom + 27, foot, "end", size=10))
    alt = f"{label}, layer {table.layer}, by {table.by}: {_words(table, whole)}"
    title = f"{label} · layer {table.layer}"
    return Panel(_WIDTH, bottom + 32, title, alt, marks, label)


def _words(table: Table, whole: Sequence[Sequence[float]]) -> str:
    """What the first experts have most of."""
    top = [max(range(len(row)), key=row.__getitem__) for row in whole[:_SPOKEN]]
    return ", ".join(
        f"expert {e} mostly {table.kinds[k]} ({whole[e][k]:.0%})" for e, k in enumerate(top)
    )


def _shades(
    cells: Sequence[Sequence[float]], pitch: float, rise: float, darkest: float
) -> list[Mark]:
    """Cells, all of one shade as one mark."""
    levels: dict[int, list[tuple[float, float, float, float]]] = {}
    for e, row in enumerate(cells):
        for k, value in enumerate(row):
            level = round(_LEVELS * math.sqrt(value / darkest))
            if level:
                box = (_LEFT + k * pitch, _TOP + e * rise, pitch - 0.5, rise - 0.5)
                levels.setdefault(level, []).append(box)
    return [Boxes(levels[level], *_shade(level)) for level in sorted(levels)]


def _expert_names(experts: Sequence[int], rise: float) -> list[Mark]:
    every = 1 if rise >= 9 else 2 if rise >= 5.5 else 4 if rise >= 3.5 else 8
    return [
        Text(_LEFT - 4, _TOP + (place + 0.5) * rise + 3, f"{experts[place]}", "end", size=9)
        for place in range(0, len(experts), every)
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


def _foot(table: Table) -> str:
    """What the columns are, and what was left out."""
    parts = [table.by]
    if len(table.kinds) > _MOST_KINDS:
        parts.append(f"{_MOST_KINDS} of {len(table.kinds)}")
    if len(table.rows) > _MOST_EXPERTS:
        parts.append(f"{_MOST_EXPERTS} of {len(table.rows)} experts")
    return ", ".join(parts)
