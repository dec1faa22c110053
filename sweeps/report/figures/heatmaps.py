"""Heat maps: a matrix as shaded cells, with the name of every row and column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ...results.formatting import one_line
from .axes import add_boxes, add_y_label, hide_axes
from .render import SMALL, Panel
from .style import SMALL_TEXT, TEXT
from .text import shortened, text_width

# Cells of one shade are one path, which keeps the page small. Shades follow the square root of the
# value: on a linear scale one specialist would leave all generalists white.
_LEVELS = 12
_GAP = 0.5  # between cells, in points
_ROW, _MIN_ROW, _HEIGHT = 14.0, 9.0, 180.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 38.0, 2.0, 6.0, 32.0
_LINE = SMALL_TEXT + 0.5  # of a turned name
_MAX_NAME, _MAX_WIDTH = 70.0, 420.0

#: Width at which a heat map is still readable; the names of columns may be thinned out.
_LEAST = 140.0


@dataclass(frozen=True)
class HeatMap:
    """Values ``(R, C)`` from 0, with NaN where there is no cell, and what they mean.

    ``across`` and ``down`` are what columns and rows are.
    """

    title: str
    alt: str
    values: NDArray[np.float64]
    rows: Sequence[str]
    columns: Sequence[str]
    down: str
    across: str
    arm: str | None = None


def heat_map_panels(
    maps: Sequence[HeatMap], legend: str, written: Callable[[float], str]
) -> list[Panel]:
    """Return panels of one width and one scale, the first of which explains the shades.

    ``legend`` is what the values are; ``written`` formats them.
    """
    darkest = max(float(np.nanmax(each.values)) for each in maps) or 1.0
    left = max(map(_left, maps))
    width = max(_width(each, left) for each in maps)
    return [
        _legend(legend, darkest, written, width, left),
        *(_panel(each, darkest, width, left) for each in maps),
    ]


def _left(shown: HeatMap) -> float:
    """Return the left margin in which every row has its name."""
    return max(_LEFT, min(_MAX_NAME, _widest(shown.rows)) + 2 * TEXT)


def _width(shown: HeatMap, left: float) -> float:
    """Return the width at which every column has its name."""
    needed = left + _RIGHT + len(shown.columns) * _pitch(shown.columns)
    return min(_MAX_WIDTH, max(SMALL, needed))


def _pitch(names: Sequence[str]) -> float:
    """Return the distance between two names: upright ones need more, turned ones a line."""
    return _LINE if _are_turned(names) else _widest(names) + 2


def _widest(names: Sequence[str]) -> float:
    return max(text_width(one_line(name), SMALL_TEXT) for name in names)


def _are_turned(names: Sequence[str]) -> bool:
    """Whether upright names have no room, even in a narrow column of a paper."""
    return _widest(names) + 2 > max((_LEAST - _LEFT) / len(names), _LINE)


def _shade(level: int) -> tuple[str, float]:
    return ("arm0", level / _LEVELS) if level else ("faint", 0.35)


def _legend(
    what: str, darkest: float, written: Callable[[float], str], width: float, left: float
) -> Panel:
    def draw(axes: Axes) -> None:
        axes.set(xlim=(0, _LEVELS + 1), ylim=(1, 0), yticks=[])
        hide_axes(axes)
        cell = _points(axes) / (_LEVELS + 1)
        for level in range(_LEVELS + 1):
            add_boxes(axes, [(level, 0, 1 - _GAP / cell, 1)], *_shade(level))
        labels = [written(part * darkest) for part in (0, 0.25, 1)]
        axes.set_xticks([0, (_LEVELS + 1) / 2, _LEVELS + 1], labels)
        first, *_, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")

    alt = f"{what}: shades from {written(0)} to {written(darkest)}"
    return Panel(what, alt, draw, _TOP + 32, width, (left, _RIGHT, _TOP, 20.0), least=_LEAST)


def _panel(shown: HeatMap, darkest: float, width: float, left: float) -> Panel:
    """Return the cells as one path per shade, so that the page stays small."""
    rows, columns = shown.values.shape
    names = [shortened(one_line(name), _MAX_NAME, SMALL_TEXT) for name in shown.columns]
    down = [shortened(one_line(name), _MAX_NAME, SMALL_TEXT) for name in shown.rows]
    turned = _are_turned(names)
    under = _widest(names) + 4 if turned else SMALL_TEXT + 5
    row = min(_ROW, max(_MIN_ROW, _HEIGHT / rows))
    levels = np.rint(_LEVELS * np.sqrt(shown.values / darkest))

    def draw(axes: Axes) -> None:
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        hide_axes(axes)
        column = _points(axes) / columns
        size = 1 - min(_GAP / column, 0.5), 1 - _GAP / row
        for level in range(_LEVELS + 1):
            boxes = [(c, r, *size) for r, c in np.argwhere(levels == level)]
            if boxes:
                add_boxes(axes, boxes, *_shade(level))
        axes.set_yticks(np.arange(rows) + 0.5, down)
        every = int(np.ceil(_pitch(names) / column - 1e-9))  # above 1 only if narrower than _width
        ticks = range(0, columns, every)
        axes.set_xticks([c + 0.5 for c in ticks], [names[c] for c in ticks])
        axes.tick_params(labelsize=SMALL_TEXT)
        if turned:
            anchored = {"rotation_mode": "anchor", "ha": "right", "va": "center"}
            axes.tick_params(axis="x", labelrotation=90)
            for label in axes.get_xticklabels():
                label.set(**anchored)
        text = shortened(one_line(shown.across), _points(axes), TEXT)
        end = (1, 0), (0, -under - TEXT), "axes fraction", "offset points"
        axes.annotate(text, *end, ha="right", va="baseline")
        add_y_label(axes, shown.down, left)

    margins = (left, _RIGHT, _TOP, under + _BOTTOM - SMALL_TEXT - 5)
    height = margins[2] + row * rows + margins[3]
    return Panel(shown.title, shown.alt, draw, height, width, margins, arm=shown.arm, least=_LEAST)


def _points(axes: Axes) -> float:
    """Return the width of the axes in points."""
    return float(axes.get_window_extent().width)
