"""Expert specialization: one row per expert, one column per kind, small multiples."""

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from ..confusion import ExpertTable, largest, shares
from .axes import add_boxes
from .figure import SMALL, Figure, Panel, printable
from .style import SMALL_TEXT, TEXT
from .text import shortened, text_width

_LEFT, _TOP, _BOTTOM = 26.0, 6.0, 32.0
_WIDTH = SMALL - _LEFT
# Cells of one shade are one path, which keeps the page small. Shades follow the square root of the
# share: on a linear scale one specialist would leave all generalists white.
_LEVELS = 12
_MAX_EXPERTS, _MAX_KINDS = 64, 40
_MAX_ROW, _MAX_HEIGHT = 14.0, 180.0
_MAX_SPOKEN = 16  # experts that the text alternative names

Cells = Sequence[Sequence[float]]


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
    axes.set(xlim=(0, _WIDTH), ylim=(1, 0))
    axes.spines["bottom"].set_visible(False)
    _remove_ticks(axes)
    width = _WIDTH / (_LEVELS + 1)
    for level in range(_LEVELS + 1):
        add_boxes(axes, [(level * width, 0, width - 0.5, 1)], *_shade(level))
    texts = ("0", "left"), (f"{darkest / 4:.0%}", "center"), (f"{darkest:.0%}", "right")
    for place, (text, align) in enumerate(texts):
        _below(axes, place / 2 * _WIDTH, text, align, TEXT)


def _shade(level: int) -> tuple[str, float]:
    return ("arm0", level / _LEVELS) if level else ("faint", 0.35)


def _panel(label: str, table: ExpertTable, darkest: float) -> Panel:
    whole = shares(table.rows)
    experts = largest([sum(row) for row in table.rows], _MAX_EXPERTS)
    kinds = largest([sum(column) for column in zip(*table.rows, strict=True)], _MAX_KINDS)
    cells = [[math.sqrt(whole[e][k] / darkest) for k in kinds] for e in experts]
    row = min(_MAX_ROW, _MAX_HEIGHT / len(experts))
    names = [printable(table.kinds[k]) for k in kinds]
    draw = partial(_draw, cells, row, experts, names, printable(_left_out(table)))
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
    cells: Cells,
    row: float,
    experts: Sequence[int],
    kinds: Sequence[str],
    note: str,
    axes: Axes,
) -> None:
    """Draw in coordinates that are points."""
    height, column = row * len(cells), _WIDTH / len(kinds)
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
    axes.spines["bottom"].set_visible(False)
    _remove_ticks(axes)
    add_boxes(axes, [(0, 0, _WIDTH, height)], *_shade(0))
    levels: dict[int, list[tuple[float, float, float, float]]] = {}
    for e, values in enumerate(cells):
        for k, value in enumerate(values):
            box = (k * column, e * row, column - 0.5, row - 0.5)
            levels.setdefault(round(_LEVELS * value), []).append(box)
    for level in sorted(levels.keys() - {0}):
        add_boxes(axes, levels[level], *_shade(level))
    every = next(n for n, least in ((1, 9), (2, 5.5), (4, 3.5), (8, 0)) if row >= least)
    for place in range(0, len(experts), every):
        axes.text(
            -4,
            (place + 0.5) * row,
            str(experts[place]),
            size=SMALL_TEXT,
            horizontalalignment="right",
            verticalalignment="center_baseline",
        )
    _name_kinds(axes, kinds, column)
    _below(axes, _WIDTH, shortened(note, SMALL, TEXT), "right", TEXT, 19.0)


def _name_kinds(axes: Axes, kinds: Sequence[str], column: float) -> None:
    """Write all names where they fit, else the first and the last."""
    if all(text_width(kind, SMALL_TEXT) <= column - 1 for kind in kinds):
        for k, kind in enumerate(kinds):
            _below(axes, (k + 0.5) * column, kind, "center", SMALL_TEXT)
        return
    first, last = (shortened(kind, 0.45 * _WIDTH, SMALL_TEXT) for kind in (kinds[0], kinds[-1]))
    _below(axes, 0, first, "left", SMALL_TEXT)
    _below(axes, _WIDTH, last, "right", SMALL_TEXT)


def _below(axes: Axes, x: float, text: str, align: str, size: float, down: float = 4.0) -> None:
    axes.annotate(
        text,
        (x / _WIDTH, 0),
        xycoords="axes fraction",
        xytext=(0, -down),
        textcoords="offset points",
        size=size,
        horizontalalignment=align,
        verticalalignment="top",
    )


def _remove_ticks(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])


def _left_out(table: ExpertTable) -> str:
    """Return what the columns are, and how many rows and columns are not shown."""
    parts = [table.by]
    if len(table.kinds) > _MAX_KINDS:
        parts.append(f"{_MAX_KINDS} of {len(table.kinds)}")
    if len(table.rows) > _MAX_EXPERTS:
        parts.append(f"{_MAX_EXPERTS} of {len(table.rows)} experts")
    return ", ".join(parts)
