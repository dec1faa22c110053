"""Plots of measurements. matplotlib is imported when a plot is drawn."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .candidates import OURS
from .tables import Measurement, growth_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DENSE, _OURS, _OTHERS, _GREY = "#555555", "#1f6fb4", "#d98b3a", "#777777"
_OUR_CANDIDATES = (
    *("topk_skewed", "mixtral_converted"),
    *(factory.__name__ for factory in OURS),
)


def ratio_plot(rows: Sequence[Measurement], headline: str) -> "Figure":
    """Bars of time per active FLOP relative to the dense layer, one panel per shape."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels: dict[str, list[Measurement]] = {}
    for row in rows:
        panels.setdefault(row.shape, []).append(row)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    labels = list(dict.fromkeys(row.label for row in rows if row.cost))
    size = (2.6 + 3.9 * columns, 1.3 + lines * (0.9 + 0.27 * len(labels)))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for panel, shown in zip(axes.flat, panels.values(), strict=False):
        _draw_ratios(panel, shown, labels)
    for panel in axes.flat[len(panels) :]:
        panel.remove()
    _scale_ratios(axes[0, 0], [row.cost.step_ratio for row in rows if row.cost])
    axes[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0, 0].set_yticks(range(len(labels)), labels)
    _set_title(figure, "Forward and backward: time per active FLOP, dense = 1", headline)
    return figure


def growth_plot(rows: Sequence[Measurement], headline: str) -> "Figure":
    """Time by number of experts, with the dense layer and a line proportional to ``E``."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    costs = {row.sizes.num_experts: row.cost for row in rows if row.cost}
    counts = list(costs)
    step = [cost.step_ms for cost in costs.values()]
    dense = [cost.step_ms / cost.step_ratio for cost in costs.values()]
    lines = {
        "forward and backward": (step, "o-", _OURS),
        "forward": ([cost.forward_ms for cost in costs.values()], "o-", _OTHERS),
        "dense, forward and backward": (dense, "--", _DENSE),
        "proportional to E": ([step[0] * count / counts[0] for count in counts], ":", _GREY),
    }
    heights = separate([times[-1] for times, _, _ in lines.values()])
    for (label, (times, style, color)), height in zip(lines.items(), heights, strict=True):
        axes.plot(counts, times, style, color=color)
        _annotate(axes, label, (counts[-1], height), 6, color=color, annotation_clip=False)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("experts E")
    axes.set_ylabel("ms")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    _set_title(figure, growth_title(rows), headline)
    return figure


def separate(heights: Sequence[float], min_gap: float = 0.045) -> list[float]:
    """Move label positions on a log axis up until labels do not overlap; keeps their order.

    ``min_gap`` is the distance to keep, relative to the range on the log axis.

    >>> separate([1.0, 1.0, 16.0], min_gap=0.25)
    [1.0, 2.0, 16.0]
    """
    gap = min_gap * math.log(max(heights) / min(heights))
    moved = list(heights)
    lowest = -math.inf
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        lowest = max(math.log(heights[index]), lowest + gap)
        moved[index] = round(math.exp(lowest), 9)
    return moved


def _draw_ratios(axes: Any, rows: Sequence[Measurement], labels: Sequence[str]) -> None:
    """Draw the bars of one shape; a bar that other panels have is replaced by its absence."""
    axes.set_title(f"{rows[0].shape}: {rows[0].sizes}", fontsize=9)
    axes.axvline(1, color=_DENSE, linewidth=1)
    for row in rows:
        if row.label not in labels:
            continue
        height = labels.index(row.label)
        if row.cost is None:
            reason = row.absent.partition(":")[0]
            _annotate(axes, reason, (1, height), 3, fontsize=8, color=_GREY)
            continue
        ratio = row.cost.step_ratio
        color = _OURS if row.candidate in _OUR_CANDIDATES else _OTHERS
        axes.barh(height, ratio - 1, left=1, height=0.66, color=color)
        text = f"{ratio:#.3g}".rstrip(".")
        _annotate(axes, text, (ratio, height), 3 if ratio >= 1 else -3, fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labelsize=8, labelbottom=True)


def _scale_ratios(axes: Any, ratios: Sequence[float]) -> None:
    """Set a log axis with margins for the numbers beyond the bars."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = min(*ratios, 1.0), max(*ratios, 1.0)
    margin = (high / low) ** 0.22
    subs = (1, 2, 5) if high / low < 100 else (1,)  # a wide span leaves no room for 2 and 5
    axes.set_xscale("log")
    axes.set_xlim(low / (margin if low < 1 else margin**0.2), high * margin * 1.05)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _annotate(
    axes: Any, text: str, point: tuple[float, float], offset: int, fontsize: int = 9, **style: Any
) -> None:
    """Place text ``offset`` points to the right of a point, or to the left if negative."""
    place = {"textcoords": "offset points", "ha": "left" if offset > 0 else "right", "va": "center"}
    axes.annotate(text, point, (offset, 0), fontsize=fontsize, **place, **style)


def _set_title(figure: "Figure", title: str, headline: str) -> None:
    """Set a title, followed by the headline wrapped to the width of the figure."""
    width = int(figure.get_figwidth() * 72 / 4.6)  # characters of about 4.6 points
    figure.suptitle("\n".join([title, *textwrap.wrap(headline, width)]), fontsize=9)
