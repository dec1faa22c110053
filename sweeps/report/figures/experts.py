"""Experts: load of each at the end of training, and their specialization as small heatmaps."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from ..data import ArmData
from ..formatting import compact
from ..logs import ExpertTable
from .axes import Scale, add_boxes, hide_axes, linear
from .render import SMALL, Figure, Panel, one_line
from .style import LIGHT, SMALL_TEXT, TEXT, ArmStyle
from .text import shortened, text_width

_MAX_SEPARATE = 54  # more bars are drawn without gaps and whiskers
_MAX_LOAD = 8.0  # times the mean; taller bars are cut off, and the panel says how tall they are

_LEFT, _TOP, _BOTTOM = 26.0, 6.0, 32.0
_WIDTH = SMALL - _LEFT
# Cells of one shade are one path, which keeps the page small. Shades follow the square root of the
# share: on a linear scale one specialist would leave all generalists white.
_LEVELS = 12
_GAP = 0.5  # between cells, in points
_MAX_EXPERTS, _MAX_KINDS = 64, 40
_MAX_ROW, _MAX_HEIGHT = 14.0, 180.0
_MAX_SPOKEN = 16  # experts that the text alternative names


def relative_load(load: Sequence[float]) -> list[float]:
    """Return loads over their mean, the largest first.

    >>> relative_load([1, 3])
    [1.5, 0.5]
    """
    mean = sum(load) / len(load)
    return sorted((each / mean if mean else 0.0 for each in load), reverse=True)


def load_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return a bar per expert, the busiest first, in a panel per arm and layer, on one scale.

    None without a layer of several experts.
    """
    shown = []
    for arm in arms:
        layers = zip_longest(*(run.get("layers", ()) for run in arm.arm.runs))
        for number, of_runs in enumerate(layers):
            loads = [relative_load(each["load"]) for each in of_runs if each and each["load"]]
            if loads and len(loads[0]) > 1:
                shown.append((arm, number, loads))
    if not shown:
        return None
    values = (min(value, _MAX_LOAD) for *_, loads in shown for run in loads for value in run)
    y = linear([*values, 1.0], zero=True, pad=0.05)
    panels = [_load_panel(*each, y) for each in shown]
    return Figure("load", "Load of each expert at the end", caption, panels)


def _load_panel(arm: ArmData, layer: int, loads: Sequence[Sequence[float]], y: Scale) -> Panel:
    experts = list(zip(*loads, strict=False))
    means = [sum(each) / len(each) for each in experts]
    alt = (
        f"{arm.label}, layer {layer}: the busiest of {len(experts)} experts has "
        f"{compact(means[0])} times the mean load, the least busy {compact(means[-1])}"
    )
    draw = partial(_draw_load, experts, means, arm.style, y)
    title = f"{arm.label} · layer {layer}"
    return Panel(title, alt, draw, 128.0, margins=(30.0, 8.0, 8.0, 20.0), arm=arm.label)


def _draw_load(
    experts: Sequence[Sequence[float]],
    means: Sequence[float],
    style: ArmStyle,
    y: Scale,
    axes: Axes,
) -> None:
    y.apply(axes, "y")
    axes.set(xlim=(-0.5, len(experts) - 0.5), xticks=[])
    axes.set_xlabel(f"{len(experts)} experts, busiest first", loc="right", labelpad=4)
    separate = len(experts) <= _MAX_SEPARATE
    width = 0.75 if separate else 1.0
    bars = [(i - width / 2, 0.0, width, y.inside(mean)) for i, mean in enumerate(means)]
    add_boxes(axes, bars, style.color, 0.85)
    if separate:
        spans = [(i, *map(y.inside, (min(e), max(e)))) for i, e in enumerate(experts)]
        x = [v for i, low, high in spans if low < high for v in (i, i, math.nan)]
        ends = [v for _, low, high in spans if low < high for v in (low, high, math.nan)]
        axes.plot(x, ends, color=LIGHT["ink"], linewidth=1)
    axes.axhline(1, color=LIGHT["ink"], linewidth=1, linestyle=(0, (3, 3)))
    if means[0] > _MAX_LOAD:
        axes.annotate(
            f"busiest: {compact(means[0])}",
            (0.5, y.high),
            xytext=(3, 0),
            textcoords="offset points",
            verticalalignment="top",
        )


def shares(rows: ArrayLike) -> NDArray[np.float64]:
    """Divide each row by its sum; a row of zeros stays 0.

    >>> shares([[1, 3], [0, 0]]).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    counts = np.asarray(rows, dtype=np.float64)
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=np.zeros_like(counts), where=sums != 0)


def heatmap_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return a row per expert, a column per kind, in a panel per arm and table; None without any.

    Tables by the same kinds share their shades; those of a single expert are left out.
    """
    shown = [(arm.label, table) for arm in arms for table in arm.tables if len(table.rows) > 1]
    if not shown:
        return None
    darkest: dict[str, float] = {}
    for _, table in shown:
        top = float(shares(table.rows).max(initial=0.0))
        darkest[table.by] = max(top, darkest.get(table.by, 0.0)) or 1.0
    panels = [_legend(by, top) for by, top in darkest.items()]
    panels += [_heatmap(label, table, darkest[table.by]) for label, table in shown]
    return Figure("specialization", "Expert specialization", caption, panels)


def _legend(by: str, darkest: float) -> Panel:
    """Return the panel that explains the shades."""

    def draw(axes: Axes) -> None:
        axes.set(xlim=(0, _LEVELS + 1), ylim=(1, 0), yticks=[])
        hide_axes(axes)
        for level in range(_LEVELS + 1):
            add_boxes(axes, [(level, 0, 1 - _GAP / _WIDTH * _LEVELS, 1)], *_shade(level))
        _label_ends(axes, ["0", f"{darkest / 4:.0%}", f"{darkest:.0%}"])

    title = f"Share of an expert's work, by {by}"
    alt = f"{title}: shades from 0 to {darkest:.0%}"
    return Panel(title, alt, draw, _TOP + 32, margins=(_LEFT, 0.0, _TOP, 20.0))


def _shade(level: int) -> tuple[str, float]:
    return ("arm0", level / _LEVELS) if level else ("faint", 0.35)


def _heatmap(label: str, table: ExpertTable, darkest: float) -> Panel:
    whole = shares(table.rows)
    experts, kinds = (
        np.sort(np.argsort(-np.sum(table.rows, axis), kind="stable")[:most])
        for axis, most in ((1, _MAX_EXPERTS), (0, _MAX_KINDS))
    )
    cells = np.sqrt(whole[np.ix_(experts, kinds)] / darkest)
    row = min(_MAX_ROW, _MAX_HEIGHT / len(experts))
    names = [one_line(table.kinds[k]) for k in kinds]
    note = [table.by]  # what the columns are, and how many of them and of the rows are shown
    if len(table.kinds) > _MAX_KINDS:
        note.append(f"{_MAX_KINDS} of {len(table.kinds)}")
    if len(table.rows) > _MAX_EXPERTS:
        note.append(f"{_MAX_EXPERTS} of {len(table.rows)} experts")
    draw = partial(_draw_cells, cells, row, experts.tolist(), names, one_line(", ".join(note)))
    words = ", ".join(
        f"expert {e} mostly {table.kinds[k]} ({whole[e, k]:.0%})"
        for e, k in enumerate(whole[:_MAX_SPOKEN].argmax(1))
    )
    return Panel(
        f"{label} · layer {table.layer}",
        f"{label}, layer {table.layer}, by {table.by}: {words}",
        draw,
        _TOP + row * len(experts) + _BOTTOM,
        margins=(_LEFT, 0.0, _TOP, _BOTTOM),
        arm=label,
    )


def _draw_cells(
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
