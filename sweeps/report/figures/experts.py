"""Experts: load of each at the end of training, and their specialization as small heatmaps."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from ...results.formatting import one_line
from ..data import ArmData
from ..formatting import compact
from ..logs import ExpertTable
from .axes import Scale, add_boxes, hide_axes, linear
from .render import SMALL, Figure, Panel
from .style import LIGHT, SMALL_TEXT, TEXT
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


def load_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return a bar per expert, the busiest first, in a panel per arm and layer, on one scale.

    None without a layer of several experts.
    """
    shown = []
    for arm in arms:
        layers = zip_longest(*(run.get("layers") or () for run in arm.arm.runs))
        for number, of_runs in enumerate(layers):
            loads = [each["load"] for each in of_runs if each and each["load"]]
            loads = [each for each in loads if len(each) == len(loads[0])]
            if loads and len(loads[0]) > 1:
                relative = len(loads[0]) * normalize(np.sort(loads)[:, ::-1], norm="l1")
                shown.append((arm, number, relative.T))
    if not shown:
        return None
    highest = max(loads.max() for *_, loads in shown)
    y = linear([min(highest, _MAX_LOAD), 1.0], zero=True, pad=0.05)
    panels = [_load_panel(*each, y) for each in shown]
    return Figure("load", "Load of each expert at the end", caption, panels)


def _load_panel(arm: ArmData, layer: int, loads: NDArray[np.float64], y: Scale) -> Panel:
    """Return the bars of one layer; ``loads`` are ``(experts, runs)``, relative to the mean."""
    experts, means = len(loads), loads.mean(1)

    def draw(axes: Axes) -> None:
        y.apply(axes, "y")
        axes.set(xlim=(-0.5, experts - 0.5), xticks=[])
        axes.set_xlabel(f"{experts} experts, busiest first", loc="right", labelpad=4)
        separate = experts <= _MAX_SEPARATE
        width = 0.75 if separate else 1.0
        heights = means.clip(max=y.high)
        bars = [(i - width / 2, 0.0, width, height) for i, height in enumerate(heights)]
        add_boxes(axes, bars, arm.style.color, 0.85)
        if separate:
            low, high = loads.min(1).clip(max=y.high), loads.max(1).clip(max=y.high)
            whiskers = np.flatnonzero(low < high)
            ends = np.stack([low, high, np.full(experts, np.nan)], axis=1)[whiskers]
            axes.plot(whiskers.repeat(3), ends.flat, color=LIGHT["ink"], linewidth=1)
        axes.axhline(1, color=LIGHT["ink"], linewidth=1, linestyle=(0, (3, 3)))
        if means[0] > _MAX_LOAD:
            text = f"busiest: {compact(means[0])}"
            axes.annotate(text, (0.5, y.high), (3, 0), textcoords="offset points", va="top")

    alt = (
        f"{arm.label}, layer {layer}: the busiest of {experts} experts has "
        f"{compact(means[0])} times the mean load, the least busy {compact(means[-1])}"
    )
    title = f"{arm.label} · layer {layer}"
    return Panel(title, alt, draw, 128.0, margins=(30.0, 8.0, 8.0, 20.0), arm=arm.label)


def heatmap_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return a row per expert, a column per kind, in a panel per arm and table; None without any.

    Tables by the same kinds share their shades; those of a single expert are left out.
    """
    shown = [(arm.label, table) for arm in arms for table in arm.tables if len(table.rows) > 1]
    if not shown:
        return None
    darkest: dict[str, float] = {}
    for _, table in shown:
        top = float(normalize(table.rows, norm="l1").max())
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
    whole = normalize(table.rows, norm="l1")
    experts, kinds = (
        np.sort(np.argsort(-np.sum(table.rows, axis), kind="stable")[:most])
        for axis, most in ((1, _MAX_EXPERTS), (0, _MAX_KINDS))
    )
    levels = np.rint(_LEVELS * np.sqrt(whole[np.ix_(experts, kinds)] / darkest))
    row, column = min(_MAX_ROW, _MAX_HEIGHT / len(experts)), _WIDTH / len(kinds)
    names = [one_line(table.kinds[k]) for k in kinds]
    note = [table.by]  # what the columns are, and how many of them and of the rows are shown
    if len(table.kinds) > _MAX_KINDS:
        note.append(f"{_MAX_KINDS} of {len(table.kinds)}")
    if len(table.rows) > _MAX_EXPERTS:
        note.append(f"{_MAX_EXPERTS} of {len(table.rows)} experts")

    def draw(axes: Axes) -> None:
        axes.set(xlim=(0, len(kinds)), ylim=(len(experts), 0))
        hide_axes(axes)
        add_boxes(axes, [(0, 0, len(kinds), len(experts))], *_shade(0))
        size = 1 - _GAP / column, 1 - _GAP / row
        for level in range(1, _LEVELS + 1):
            boxes = [(k, e, *size) for e, k in np.argwhere(levels == level)]
            if boxes:
                add_boxes(axes, boxes, *_shade(level))
        every = next(n for n, least in ((1, 9), (2, 5.5), (4, 3.5), (8, 0)) if row >= least)
        named = range(0, len(experts), every)
        axes.set_yticks([e + 0.5 for e in named], [str(experts[e]) for e in named])
        if all(text_width(name, SMALL_TEXT) <= column - 1 for name in names):
            axes.set_xticks([k + 0.5 for k in range(len(kinds))], names)
        else:
            _label_ends(axes, [shortened(names[i], 0.45 * _WIDTH, SMALL_TEXT) for i in (0, -1)])
        axes.tick_params(labelsize=SMALL_TEXT)
        text = shortened(one_line(", ".join(note)), SMALL, TEXT)
        axes.set_xlabel(text, loc="right", labelpad=2)

    words = ", ".join(
        f"expert {e} mostly {table.kinds[k]} ({whole[e, k]:.0%})"
        for e, k in enumerate(whole[:_MAX_SPOKEN].argmax(1))
    )
    title = f"{label} · layer {table.layer}"
    alt = f"{label}, layer {table.layer}, by {table.by}: {words}"
    height = _TOP + row * len(experts) + _BOTTOM
    return Panel(title, alt, draw, height, margins=(_LEFT, 0.0, _TOP, _BOTTOM), arm=label)


def _label_ends(axes: Axes, labels: Sequence[str]) -> None:
    """Label the horizontal axis from its left to its right end."""
    axes.set_xticks(np.linspace(*axes.get_xlim(), len(labels)), labels)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
