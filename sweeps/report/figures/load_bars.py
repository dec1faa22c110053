"""Load of each expert at the end of training: a bar per expert, the busiest first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from ..formatting import compact
from .axes import Scale, add_boxes, linear
from .figure import Figure, Panel
from .palette import LIGHT
from .style import ArmStyle

_MARGINS = (30.0, 8.0, 8.0, 20.0)
_MAX_SEPARATE = 54  # more bars are drawn without gaps and whiskers
_MAX_LOAD = 8.0  # times the mean; taller bars are cut off, and the panel says how tall they are


@dataclass(frozen=True)
class LayerLoad:
    """Load over the mean load of one arm and layer, for each run, the busiest expert first."""

    label: str
    layer: int
    runs: Sequence[Sequence[float]]


def relative_load(load: Sequence[float]) -> list[float]:
    """Return loads over their mean, the largest first.

    >>> relative_load([1, 3])
    [1.5, 0.5]
    """
    mean = sum(load) / len(load)
    return sorted((each / mean if mean else 0.0 for each in load), reverse=True)


def load_figure(
    loads: Sequence[LayerLoad], styles: Mapping[str, ArmStyle], caption: str
) -> Figure | None:
    """Return a panel for each arm and layer with several experts, on one scale; None without."""
    shown = [each for each in loads if each.runs and len(each.runs[0]) > 1]
    if not shown:
        return None
    values = (min(value, _MAX_LOAD) for each in shown for run in each.runs for value in run)
    y = linear([*values, 1.0], zero=True, pad=0.05)
    panels = [_panel(each, styles[each.label], y) for each in shown]
    return Figure("load", "Load of each expert at the end", caption, panels)


def _panel(load: LayerLoad, style: ArmStyle, y: Scale) -> Panel:
    experts = list(zip(*load.runs, strict=False))
    means = [sum(each) / len(each) for each in experts]
    alt = (
        f"{load.label}, layer {load.layer}: the busiest of {len(experts)} experts has "
        f"{compact(means[0])} times the mean load, the least busy {compact(means[-1])}"
    )
    draw = partial(_draw, experts, means, style, y)
    title = f"{load.label} · layer {load.layer}"
    return Panel(title, alt, draw, 128.0, margins=_MARGINS, arm=load.label)


def _draw(
    experts: Sequence[Sequence[float]],
    means: Sequence[float],
    style: ArmStyle,
    y: Scale,
    axes: Axes,
) -> None:
    y.set_y(axes)
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
