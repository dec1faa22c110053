"""Experts: load of each at the end of training, and their specialization as small heatmaps."""

from collections.abc import Sequence
from itertools import groupby, zip_longest

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from ..data import ArmData
from ..formatting import compact
from ..logs import ExpertTable
from .axes import Scale, add_boxes, add_y_label, linear
from .heatmaps import HeatMap, heat_map_panels
from .render import Figure, Panel
from .style import LIGHT

_MAX_SEPARATE = 54  # more bars are drawn without gaps and whiskers
_MAX_LOAD = 8.0  # times the mean; taller bars are cut off, and the panel says how tall they are
_MAX_BARS = 4  # layers of an arm with a panel of bars each; the load of more is a heat map
_MARGINS = (42.0, 8.0, 8.0, 20.0)

_MAX_EXPERTS, _MAX_KINDS = 64, 40
_MAX_SPOKEN = 16  # experts that the text alternative names


#: An arm, the number of one of its layers, and the load there ``(experts, runs)`` over its mean,
#: the busiest expert first.
_LayerLoad = tuple[ArmData, int, NDArray[np.float64]]


def load_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return the load of each expert, the busiest first, on one scale.

    In few layers as a panel of bars per arm and layer; in many as a heat map per arm, with a row
    for each layer. None without a layer of several experts.
    """
    shown = [each for arm in arms for each in _loads(arm)]
    if not shown:
        return None
    by_arm = [list(layers) for _, layers in groupby(shown, lambda each: each[0].label)]
    if unequal := [arm.label for arm in arms if any(map(_sizes_differ, _runs_by_layer(arm)))]:
        caption += (
            " Left out are runs whose layer has another number of experts than in the arm's first "
            f"run: {', '.join(unequal)}."
        )
    if max(map(len, by_arm)) > _MAX_BARS:
        caption += " Shades: mean over seeds; each row is a layer."
        panels = heat_map_panels(
            [_load_map(layers) for layers in by_arm], "Load over mean load", compact
        )
    else:
        caption += (
            " Bars: mean over seeds; whiskers: lowest to highest seed; dashed: the mean load."
        )
        highest = max(loads.max() for *_, loads in shown)
        y = linear([min(highest, _MAX_LOAD), 1.0], zero=True, pad=0.05)
        panels = [_load_panel(*each, y) for each in shown]
    return Figure("load", "Load of each expert at the end", caption, panels)


def _runs_by_layer(arm: ArmData) -> list[list[Sequence[float]]]:
    """Return for each layer its load in each run that has it."""
    layers = zip_longest(*(run.get("layers") or () for run in arm.arm.runs))
    return [[each["load"] for each in of_runs if each and each["load"]] for of_runs in layers]


def _sizes_differ(loads: Sequence[Sequence[float]]) -> bool:
    return len({len(each) for each in loads}) > 1


def _loads(arm: ArmData) -> list[_LayerLoad]:
    found = []
    for number, of_runs in enumerate(_runs_by_layer(arm)):
        loads = [each for each in of_runs if len(each) == len(of_runs[0])]
        if loads and len(loads[0]) > 1:
            relative = len(loads[0]) * normalize(np.sort(loads)[:, ::-1], norm="l1")
            found.append((arm, number, relative.T))
    return found


def _load_map(layers: Sequence[_LayerLoad]) -> HeatMap:
    """Return a row per layer; those with fewer experts than others have fewer cells."""
    arm = layers[0][0]
    most = max(len(loads) for *_, loads in layers)
    values = np.full((len(layers), most), np.nan)
    for row, (_, _, loads) in enumerate(layers):
        values[row, : len(loads)] = loads.mean(1)
    top = int(np.argmax(values[:, 0]))
    alt = (
        f"{arm.label}: in layer {layers[top][1]} the busiest of {most} experts has "
        f"{compact(values[top, 0])} times the mean load, the most of {len(layers)} layers"
    )
    return HeatMap(
        title=arm.label,
        alt=alt,
        values=values.clip(max=_MAX_LOAD),
        rows=[str(number) for _, number, _ in layers],
        columns=[str(rank) for rank in range(1, most + 1)],
        down="layer",
        across="expert, busiest first",
        arm=arm.label,
    )


def _load_panel(arm: ArmData, layer: int, loads: NDArray[np.float64], y: Scale) -> Panel:
    """Return the bars of one layer; ``loads`` are ``(experts, runs)``, relative to the mean."""
    experts, means = len(loads), loads.mean(1)

    def draw(axes: Axes) -> None:
        y.apply(axes, "y")
        axes.set(xlim=(-0.5, experts - 0.5), xticks=[])
        axes.set_xlabel(f"{experts} experts, busiest first", loc="right", labelpad=4)
        add_y_label(axes, "load / mean", _MARGINS[0])
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
    return Panel(title, alt, draw, 128.0, margins=_MARGINS, arm=arm.label)


def heatmap_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return a row per expert, a column per kind, in a panel per arm and table; None without any.

    Tables by the same kinds share their shades; those of a single expert are left out.
    """
    shown = [(arm, table) for arm in arms for table in arm.tables if len(table.rows) > 1]
    panels = [
        panel
        for by in dict.fromkeys(table.by for _, table in shown)
        for panel in heat_map_panels(
            [_specialization(*each) for each in shown if each[1].by == by],
            f"Share of an expert's work, by {by}",
            "{:.0%}".format,
        )
    ]
    return Figure("specialization", "Expert specialization", caption, panels) if panels else None


def _specialization(arm: ArmData, table: ExpertTable) -> HeatMap:
    whole = normalize(table.rows, norm="l1")
    experts, kinds = (
        np.sort(np.argsort(-np.sum(table.rows, axis), kind="stable")[:most])
        for axis, most in ((1, _MAX_EXPERTS), (0, _MAX_KINDS))
    )
    across = [table.by]  # what the columns are, and how many of them and of the rows are shown
    if len(table.kinds) > _MAX_KINDS:
        across.append(f"{_MAX_KINDS} of {len(table.kinds)}")
    if len(table.rows) > _MAX_EXPERTS:
        across.append(f"{_MAX_EXPERTS} of {len(table.rows)} experts")
    if (nmi := arm.nmi(table.layer, table.by)) is not None:
        across.append(f"NMI {nmi:.2f}")
    title = f"{arm.label} · layer {table.layer}"
    words = ", ".join(
        f"expert {e} mostly {table.kinds[k]} ({whole[e, k]:.0%})"
        for e, k in enumerate(whole[:_MAX_SPOKEN].argmax(1))
    )
    return HeatMap(
        title=title,
        alt=f"{arm.label}, layer {table.layer}, by {', '.join(across)}: {words}",
        values=whole[np.ix_(experts, kinds)],
        rows=[str(expert) for expert in experts],
        columns=[table.kinds[kind] for kind in kinds],
        down="expert",
        across=", ".join(across),
        arm=arm.label,
    )
