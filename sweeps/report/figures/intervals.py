"""Dots and whiskers: a mean, its interval, and the seeds that it comes from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from ..formatting import compact
from .axes import Scale, add_dots, hide_axes, linear
from .figure import Figure, Panel
from .palette import LIGHT
from .style import ArmStyle

_ROW, _WIDTH, _EDGE = 26.0, 220.0, 10.0
_MIDDLE = 11.0


@dataclass(frozen=True)
class IntervalRow:
    """The numbers of an arm; low and high equal the mean where there is no interval."""

    label: str
    style: ArmStyle
    mean: float
    low: float
    high: float
    values: Sequence[float]


def interval_figure(rows: Sequence[IntervalRow], name: str) -> Figure:
    """Return a figure with a panel for each row, on a common scale, and its axis as last panel."""
    scale = shared_scale(rows)
    margins = (_EDGE, _EDGE, 0.0, 0.0)
    panels = [
        Panel(row.label, _words(row), partial(_draw_row, row, scale), _ROW, _WIDTH, margins)
        for row in rows
    ]
    axis = partial(_draw_axis, scale)
    panels.append(Panel(name, f"axis of {name}", axis, 16.0, _WIDTH, (_EDGE, _EDGE, 2.0, 13.0)))
    return Figure(
        "scores",
        "Scores of all arms",
        "Mean over fresh seeds with its 95% interval; ticks: single seeds.",
        panels,
        columns=1,
        title_width=190.0,
    )


def shared_scale(rows: Sequence[IntervalRow]) -> Scale:
    """Return a scale that holds all seeds, and intervals as far as they are not excessive.

    The interval of two or three seeds may be many times as wide as the range of all seeds; it
    would press everything else into a corner.
    """
    seen = [v for row in rows for v in (row.mean, *row.values)]
    room = 0.6 * (max(seen) - min(seen)) or math.inf
    low = max(min(row.low for row in rows), min(seen) - room)
    high = min(max(row.high for row in rows), max(seen) + room)
    return linear([*seen, low, high], pad=0.02)


def _draw_row(row: IntervalRow, scale: Scale, axes: Axes) -> None:
    color = LIGHT[row.style.color]
    axes.set(xlim=(scale.low, scale.high), ylim=(_ROW, 0.0))
    axes.set_axis_off()
    axes.vlines(scale.ticks, 0, _ROW, color=LIGHT["faint"], linewidth=1)
    axes.vlines(row.values, _MIDDLE + 6, _MIDDLE + 10, color=color, linewidth=1, alpha=0.7)
    ends = [end for end in (row.low, row.high) if scale.low <= end <= scale.high]
    axes.vlines(ends, _MIDDLE - 4, _MIDDLE + 4, color=color, linewidth=1.5)
    axes.hlines(_MIDDLE, scale.inside(row.low), scale.inside(row.high), color=color, linewidth=2)
    add_dots(axes, [row.mean], [_MIDDLE], row.style, radius=4.5, tip=_words(row))


def _draw_axis(scale: Scale, axes: Axes) -> None:
    scale.set_x(axes)
    axes.set_yticks([])
    hide_axes(axes)


def _words(row: IntervalRow) -> str:
    if row.low == row.high:
        return f"{row.label}: {compact(row.mean)}"
    return f"{row.label}: {compact(row.mean)}, from {compact(row.low)} to {compact(row.high)}"
