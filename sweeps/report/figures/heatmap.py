"""Expert specialization: one row per expert, one column per kind, small multiples."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..confusion import ExpertTable, largest, shares
from .axes import add_boxes, hide_axes
from .figure import SMALL, Figure, Panel, one_line
from .style import SMALL_TEXT, TEXT
from .text import shortened, text_width

_LEFT, _TOP, _BOTTOM = 26.0, 6.0, 32.0
_WIDTH = SMALL - _LEFT
# Cells of one shade are one path, which keeps the page small. Shades follow the square root of the
# share: on a linear scale one specialist would leave all generalists white.
_LEVELS = 12
_GAP = 0.5  # between cells, in points
_MAX_EXPERTS, _MAX_KINDS = 64, 40
_MAX_ROW, _MAX_HEIGHT = 14.0, 180.0
_MAX_SPOKEN = 16  # experts that the text alternative names


def heatmap_figure(tables: Sequence[tuple[str, ExpertTable]], caption: str) -> Figure | None:
    """Return a panel for each arm and table with several experts; None without any.

    Tables by the same kinds share their shades.
    """
    shown = [(label, table) for label, table in tables if len(table.rows) > 1]
    if not shown:
        return None
    darkest: dict[str, float] = {}
    for _, table in shown:
        top = max((value for row in shares(table.rows) for value in row), default=0.0)
        darkest[table.by] = max(top, darkest.get(table.by, 0.0)) or 1.0
    panels = [_legend(by, top) for by, top in darkest.items()]
    panels += [_panel(label, table, darkest[table.by]) for label, table in shown]
    return Figure("specialization", "Expert specialization", caption, panels)


def _legend(by: str, darkest: float) -> Panel:
    """Return the panel that explains the shades."""
    title = f"Share of an expert's work, by {by}"
    alt = f"{title}: shades from 0 to {darkest:.0%}"
    draw = partial(_draw_legend, darkest)
    return Panel(title, alt, draw, _TOP + 32, margins=(_LEFT, 0.0, _TOP, 20.0))


def _draw_legend(darkest: float, axes: Axes) -> None:
    axes.set(xlim=(0, _LEVELS + 1), ylim=(1, 0), yticks=[])
    hide_axes(axes)
    for level in range(_LEVELS + 1):
        add_boxes(axes, [(level, 0, 1 - _GAP / _WIDTH * _LEVELS, 1)], *_shade(level))
    _label_ends(axes, ["0", f"{darkest / 4:.0%}", f"{darkest:.0%}"])


def _shade(level: int) -> tuple[str, float]:
    return ("arm0", level / _LEVELS) if level else ("faint", 0.35)


def _panel(label: str, table: ExpertTable, darkest: float) -> Panel:
    whole = shares(table.rows)
    experts = largest([sum(row) for row in table.rows], _MAX_EXPERTS)
    kinds = largest([sum(column) for column in zip(*table.rows, strict=True)], _MAX_KINDS)
    cells = np.sqrt([[whole[e][k] / darkest for k in kinds] for e in experts])
    row = min(_MAX_ROW, _MAX_HEIGHT / len(experts))
    names = [one_line(table.kinds[k]) for k in kinds]
    draw = partial(_draw, cells, row, experts, names, one_line(_left_out(table)))
    top = [max(range(len(each)), key=each.__getitem__) for each in whole[:_MAX_SPOKEN]]
    words = ", ".join(
        f"expert {e} mostly {table.kinds[k]} ({whole[e][k]:.0%})" for e, k in enumerate(top)
    )
    return Panel(
        f"{label} · layer {table.layer}",
        f"{label}, layer {table.layer}, by {table.by}: {words}",
        draw,
        _TOP + row * len(experts) + _BOTTOM,
        margins=(_LEFT, 0.0, _TOP, _BOTTOM),
        arm=label,
    )


def _draw(
    cells: NDArray[np.float64],
    row: float,
    experts: Sequence[int],
    kinds: Sequence[str],
    note: str,
    axes: Axes,
) -> None:
    column = _WIDTH / len(kinds)
    axes.set(xlim=(0, len(kinds)), ylim=(len(experts), 0))
    hide_axes(axes)
    add_boxes(axes, [(0, 0, len(kinds), len(experts))], *_shade(0))
    levels = np.rint(_LEVELS * cells)
    for level in range(1, _LEVELS + 1):
        size = 1 - _GAP / column, 1 - _GAP / row
        boxes = [(float(k), float(e), *size) for e, k in np.argwhere(levels == level)]
        if boxes:
            add_boxes(axes, boxes, *_shade(level))
    every = next(n for n, least in ((1, 9), (2, 5.5), (4, 3.5), (8, 0)) if row >= least)
    named = range(0, len(experts), every)
    axes.set_yticks([e + 0.5 for e in named], [str(experts[e]) for e in named])
    if all(text_width(kind, SMALL_TEXT) <= column - 1 for kind in kinds):
        axes.set_xticks([k + 0.5 for k in range(len(kinds))], kinds)
    else:
        room = 0.45 * _WIDTH
        _label_ends(axes, [shortened(kinds[i], room, SMALL_TEXT) for i in (0, -1)])
    axes.tick_params(labelsize=SMALL_TEXT)
    axes.set_xlabel(shortened(note, SMALL, TEXT), loc="right", labelpad=2)


def _label_ends(axes: Axes, labels: Sequence[str]) -> None:
    """Label the horizontal axis from its left to its right end."""
    axes.set_xticks(np.linspace(*axes.get_xlim(), len(labels)), labels)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def _left_out(table: ExpertTable) -> str:
    """Return what the columns are, and how many rows and columns are not shown."""
    parts = [table.by]
    if len(table.kinds) > _MAX_KINDS:
        parts.append(f"{_MAX_KINDS} of {len(table.kinds)}")
    if len(table.rows) > _MAX_EXPERTS:
        parts.append(f"{_MAX_EXPERTS} of {len(table.rows)} experts")
    return ", ".join(parts)
