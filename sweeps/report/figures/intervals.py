"""Dots and whiskers: a number, its interval, and the single values that it comes from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from ...statistics.intervals import Interval
from ..formatting import compact
from .axes import Scale, add_dots, hide_axes, linear
from .render import Figure, Panel
from .style import LIGHT, ArmStyle

_ROW, _WIDTH, _EDGE = 26.0, 220.0, 10.0
_MIDDLE = 11.0


@dataclass(frozen=True)
class IntervalRow:
    """A number of an arm; ``values`` are single ones, such as the scores of seeds."""

    label: str
    style: ArmStyle
    value: float
    interval: Interval
    values: Sequence[float] = ()

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the interval; both are the value where there is none."""
        known = math.isfinite(self.interval.low)
        return (self.interval.low, self.interval.high) if known else (self.value, self.value)


def interval_figure(
    name: str,
    title: str,
    caption: str,
    rows: Sequence[IntervalRow],
    label: str,
    references: Sequence[float] = (),
) -> Figure:
    """Return a figure with a panel for each row, on a common scale, and its axis as last panel.

    ``label`` names the axis; ``references`` are numbers on it to compare with, drawn as lines.
    """
    scale = shared_scale(rows, references)

    def draw_axis(axes: Axes) -> None:
        scale.apply(axes, "x")
        axes.set_yticks([])
        hide_axes(axes)

    panels = [_row(row, scale, references) for row in rows]
    margins = (_EDGE, _EDGE, 2.0, 13.0)
    panels.append(Panel(label, f"axis of {label}", draw_axis, 16.0, _WIDTH, margins))
    return Figure(name, title, caption, panels, columns=1, title_width=190.0)


def shared_scale(rows: Sequence[IntervalRow], references: Sequence[float] = ()) -> Scale:
    """Return a scale that holds all values, and intervals as far as they are not excessive.

    The interval of two or three seeds may be many times as wide as the range of all seeds; it
    would press everything else into a corner.
    """
    seen = [*references, *(v for row in rows for v in (row.value, *row.values))]
    lows, highs = zip(*(row.ends for row in rows), strict=True)
    room = 0.6 * (max(seen) - min(seen)) or math.inf
    low, high = max(min(lows), min(seen) - room), min(max(highs), max(seen) + room)
    return linear([*seen, low, high], pad=0.02)


def _row(row: IntervalRow, scale: Scale, references: Sequence[float]) -> Panel:
    low, high = row.ends
    words = f"{row.label}: {compact(row.value)}"
    words += "" if low == high else f", from {compact(low)} to {compact(high)}"

    def draw(axes: Axes) -> None:
        color = LIGHT[row.style.color]
        scale.apply(axes, "x")
        axes.set(ylim=(_ROW, 0.0))
        axes.set_axis_off()
        ticks, ends = (
            [x for x in found if scale.low <= x <= scale.high]
            for found in (axes.get_xticks(), (low, high))
        )
        axes.vlines(ticks, 0, _ROW, color=LIGHT["faint"], linewidth=1)
        axes.vlines(references, 0, _ROW, color=LIGHT["dominated"], linewidth=1)
        axes.vlines(row.values, _MIDDLE + 6, _MIDDLE + 10, color=color, linewidth=1, alpha=0.7)
        axes.vlines(ends, _MIDDLE - 4, _MIDDLE + 4, color=color, linewidth=1.5)
        left, right = np.clip((low, high), scale.low, scale.high)
        axes.hlines(_MIDDLE, left, right, color=color, linewidth=2)
        add_dots(axes, [row.value], [_MIDDLE], row.style, radius=4.5, tip=words)

    return Panel(row.label, words, draw, _ROW, _WIDTH, (_EDGE, _EDGE, 0.0, 0.0))
