"""Dots and whiskers: a mean, its interval, and the runs it comes from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .frame import foot, spaced
from .marks import Dot, Figure, Line, Mark, Panel, Text
from .numbers import compact
from .scales import Scale, around
from .styles import Style
from .widths import shortened

_ROW = 26.0
WIDTH = 220.0
_EDGE = 10.0


@dataclass(frozen=True)
class Row:
    """What is drawn of an arm; low and high equal the mean where there is no interval."""

    label: str
    look: Style
    mean: float
    low: float
    high: float
    values: Sequence[float]


def reach(rows: Sequence[Row]) -> list[float]:
    """What the axis has to hold: all runs, and intervals as far as they are not excessive.

    Of two or three seeds an interval may be many times as wide as all that was seen; it would
    press all else into a corner.
    """
    seen = [v for row in rows for v in (row.mean, *row.values)]
    room = 0.6 * (max(seen) - min(seen)) or math.inf
    ends = [end for row in rows for end in (row.low, row.high)]
    return [*seen, max(min(ends), min(seen) - room), min(max(ends), max(seen) + room)]


def shared_scale(rows: Sequence[Row]) -> Scale:
    """The axis of all rows."""
    return around(reach(rows), _EDGE, WIDTH - _EDGE, pad=0.02)


def row_marks(row: Row, x: Scale, middle: float) -> list[Mark]:
    """The marks of one row around the height ``middle``."""
    ink = row.look.ink
    ends = [end for end in (row.low, row.high) if x.low <= end <= x.high]
    return [
        *(Line([(x(v), middle + 6), (x(v), middle + 10)], ink, 1, opacity=0.7) for v in row.values),
        Line([(x(row.low), middle), (x(row.high), middle)], ink, 2),
        *(Line([(x(end), middle - 4), (x(end), middle + 4)], ink, 1.5) for end in ends),
        Dot(x(row.mean), middle, row.look.shape, ink, 4.5, tip=_words(row)),
    ]


def row_panel(row: Row, x: Scale) -> Panel:
    """One row, for a cell of the leaderboard."""
    guide = [Line([(x(t), 0), (x(t), _ROW)], "faint", 1) for t in x.ticks]
    return Panel(WIDTH, _ROW, "", _words(row), [*guide, *row_marks(row, x, _ROW / 2 - 2)])


def axis_panel(x: Scale, name: str) -> Panel:
    """The axis over all rows."""
    ticks = [Text(x(tick), 12, label, "middle", size=10) for tick, label in spaced(x)]
    return Panel(WIDTH, 16, "", f"axis of {name}", ticks)


def forest(rows: Sequence[Row], name: str, title: str, caption: str) -> Figure:
    """All rows in one panel, with names, for a paper."""
    left, top = 190.0, 6.0
    bottom = top + _ROW * len(rows)
    x = around(reach(rows), left, left + 300, pad=0.04)
    marks = [
        *(Line([(x(t), top), (x(t), bottom)], "faint", 1) for t in x.ticks),
        *foot(x, bottom, name),
    ]
    for i, row in enumerate(rows):
        middle = top + (i + 0.5) * _ROW
        text = shortened(row.label, left - 20, 12)
        marks.append(Text(left - 10, middle + 4, text, "end", ink="ink", size=12))
        marks += row_marks(row, x, middle)
    alt = "; ".join(map(_words, rows))
    return Figure("scores", title, caption, [Panel(left + 310, bottom + 32, "", alt, marks)], 1)


def _words(row: Row) -> str:
    if row.low == row.high:
        return f"{row.label}: {compact(row.mean)}"
    return f"{row.label}: {compact(row.mean)}, from {compact(row.low)} to {compact(row.high)}"
