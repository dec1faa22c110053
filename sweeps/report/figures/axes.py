"""Elements that panels share: scales with their ticks, dots and boxes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ...results.formatting import one_line
from ..formatting import compact
from .style import LIGHT, TEXT, ArmStyle
from .svg import TIP
from .text import shortened


@dataclass(frozen=True)
class Scale:
    """Limits of an axis with at most ``bins`` intervals between its ticks.

    Ticks of a ``log`` scale are powers of ten and their multiples, those of a ``whole`` one are
    whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    bins: int = 4

    def apply(self, axes: Axes, side: Literal["x", "y"]) -> None:
        """Make it the horizontal or vertical axis."""
        kind = "log" if self.log else "linear"
        axes.set(**{f"{side}scale": kind, f"{side}lim": (self.low, self.high)})
        axis = axes.xaxis if side == "x" else axes.yaxis
        axis.set_minor_locator(NullLocator())
        if self.log:
            ratio = self.high / self.low
            subs = (1,) if ratio > 1e3 else (1, 3) if ratio > 30 else (1, 2, 5)
            axis.set_major_locator(LogLocator(subs=subs))
        else:
            locator = MaxNLocator(nbins=self.bins, steps=[1, 2, 5, 10], integer=self.whole)
            axis.set_major_locator(locator)
        if self.log or self.high >= 1000:
            axis.set_major_formatter(lambda value, _: compact(value))


def linear(
    values: Iterable[float], *, pad: float = 0.08, zero: bool = False, bins: int = 4
) -> Scale:
    """Return a scale that holds all finite values, and ``pad`` of their range at both ends.

    ``zero`` includes 0, without space below it.

    >>> linear([2.0, 4.0], pad=0.5, zero=True)
    Scale(low=0.0, high=6.0, log=False, whole=False, bins=4)
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    flat = high - low <= 1e-9 * max(abs(low), abs(high))
    space = (0.05 * abs(high) or 1.0) if flat else pad * (high - low)
    return Scale(low if zero and low == 0 else low - space, high + space, bins=bins)


def log_or_linear(values: Sequence[float]) -> Scale:
    """Return a logarithmic scale where positive values span more than a factor of four.

    >>> log_or_linear([1.0, 2.0]).log, log_or_linear([1.0, 20.0]).log
    (False, True)
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite or min(finite) <= 0 or max(finite) < 4 * min(finite):
        return linear(finite, pad=0.1, bins=6)
    space = (max(finite) / min(finite)) ** 0.08
    return Scale(min(finite) / space, max(finite) * space, log=True)


def hide_axes(axes: Axes) -> None:
    """Hide grid, axis line and tick marks; labels of ticks stay."""
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)


def add_y_label(axes: Axes, text: str, left: float) -> None:
    """Write what the vertical axis is at the left edge of the margin, from bottom to top."""
    room = axes.get_window_extent().height + 12
    words = shortened(one_line(text), room, TEXT)
    place = (0, 0.5), (TEXT - left, 0), "axes fraction", "offset points"
    label = axes.annotate(words, *place, color=LIGHT["muted"], size=TEXT)
    label.set(rotation=90, rotation_mode="anchor", ha="center", va="baseline")


def add_dots(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    style: ArmStyle,
    *,
    radius: float,
    filled: bool = True,
    tip: str = "",
) -> None:
    """Draw the marker of an arm at points; ``tip`` is shown on hover."""
    color, paper = LIGHT[style.color], LIGHT["paper"]
    face, edge, width = (color, paper, 0.8) if filled else (paper, color, 1.3)
    (dots,) = axes.plot(x, y, style.marker, ms=2 * radius, mfc=face, mec=edge, mew=width, zorder=3)
    dots.set_gid(f"{TIP}{one_line(tip)}" if tip else None)


def add_boxes(
    axes: Axes, boxes: Sequence[tuple[float, float, float, float]], color: str, alpha: float
) -> None:
    """Draw rectangles ``(x, y, width, height)`` of one colour as a single path."""
    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in boxes]
    path = Path.make_compound_path_from_polys(np.array(corners))
    axes.add_patch(PathPatch(path, facecolor=LIGHT[color], alpha=alpha, linewidth=0))
