"""Dots and whiskers: a mean, its interval, and the seeds that it comes from."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from ..data import ArmData
from ..formatting import compact
from .axes import Scale, add_dots, hide_axes, linear
from .render import Figure, Panel
from .style import LIGHT

_ROW, _WIDTH, _EDGE = 26.0, 220.0, 10.0
_MIDDLE = 11.0


def interval_figure(arms: Sequence[ArmData], name: str) -> Figure:
    """Return a figure with a panel for each arm, on a common scale, and its axis as last panel."""
    scale = shared_scale(arms)

    def draw_axis(axes: Axes) -> None:
        scale.apply(axes, "x")
        axes.set_yticks([])
        hide_axes(axes)

    panels = [_row(arm, scale) for arm in arms]
    margins = (_EDGE, _EDGE, 2.0, 13.0)
    panels.append(Panel(name, f"axis of {name}", draw_axis, 16.0, _WIDTH, margins))
    caption = "Mean over fresh seeds with its 95% interval; ticks: single seeds."
    return Figure("scores", "Scores of all arms", caption, panels, columns=1, title_width=190.0)


def _ends(arm: ArmData) -> tuple[float, float]:
    """Return the ends of an interval; both are the mean where there is none."""
    interval, mean = arm.standing.interval, arm.standing.mean
    return (interval.low, interval.high) if math.isfinite(interval.low) else (mean, mean)


def shared_scale(arms: Sequence[ArmData]) -> Scale:
    """Return a scale that holds all seeds, and intervals as far as they are not excessive.

    The interval of two or three seeds may be many times as wide as the range of all seeds; it
    would press everything else into a corner.
    """
    seen = [v for arm in arms for v in (arm.standing.mean, *arm.standing.scores.values())]
    lows, highs = zip(*map(_ends, arms), strict=True)
    room = 0.6 * (max(seen) - min(seen)) or math.inf
    low, high = max(min(lows), min(seen) - room), min(max(highs), max(seen) + room)
    return linear([*seen, low, high], pad=0.02)


def _row(arm: ArmData, scale: Scale) -> Panel:
    low, high = _ends(arm)
    mean, seeds = arm.standing.mean, [*arm.standing.scores.values()]
    words = f"{arm.label}: {compact(mean)}"
    words += "" if low == high else f", from {compact(low)} to {compact(high)}"

    def draw(axes: Axes) -> None:
        color = LIGHT[arm.style.color]
        scale.apply(axes, "x")
        axes.set(ylim=(_ROW, 0.0))
        axes.set_axis_off()
        ticks, ends = (
            [x for x in found if scale.low <= x <= scale.high]
            for found in (axes.get_xticks(), (low, high))
        )
        axes.vlines(ticks, 0, _ROW, color=LIGHT["faint"], linewidth=1)
        axes.vlines(seeds, _MIDDLE + 6, _MIDDLE + 10, color=color, linewidth=1, alpha=0.7)
        axes.vlines(ends, _MIDDLE - 4, _MIDDLE + 4, color=color, linewidth=1.5)
        left, right = np.clip((low, high), scale.low, scale.high)
        axes.hlines(_MIDDLE, left, right, color=color, linewidth=2)
        add_dots(axes, [mean], [_MIDDLE], arm.style, radius=4.5, tip=words)

    return Panel(arm.label, words, draw, _ROW, _WIDTH, (_EDGE, _EDGE, 0.0, 0.0))
