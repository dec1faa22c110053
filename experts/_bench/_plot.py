"""Results as pictures. matplotlib is imported only when one is drawn: it is optional."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DENSE, _OURS, _OTHERS = "#555555", "#1f6fb4", "#d98b3a"
_NARROW = 100  # up to here, numbers at 2 and 5 beside the powers of ten fit below an axis
_OWN = ("topk", "topk_skewed", "topk_glu", "expert_choice", "soft_mixture", "soft_moe")


def ratio_plot(rows: Sequence[Row], headline: str) -> "Figure":
    """Bars of time per active FLOP relative to the dense layer, one panel per shape."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(row.where, []).append(row)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    labels = list(dict.fromkeys(row.label for row in rows if row.cost))
    size = (2.6 + 3.9 * columns, 1.3 + lines * (0.9 + 0.27 * len(labels)))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for place, (where, shown) in zip(axes.flat, panels.items(), strict=False):
        _ratio_panel(place, where, shown, labels)
    for place in axes.flat[len(panels) :]:
        place.remove()
    _set_ratio_axis(axes[0, 0], [row.cost.step_ratio for row in rows if row.cost], len(labels))
    axes[0, 0].set_yticks(range(len(labels)), labels)
    _title(figure, "Forward and backward: time per active FLOP, dense = 1", headline)
    return figure


def growth_plot(rows: Sequence[Row], headline: str) -> "Figure":
    """Time against the number of experts, beside a line of time proportional to them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    timed = [(row.shape.experts, row.cost) for row in rows if row.cost]
    counts = [count for count, _ in timed]
    step = [cost.step.median for _, cost in timed]
    forward = [cost.forward.median for _, cost in timed]
    dense = [time / cost.step_ratio for time, (_, cost) in zip(step, timed, strict=True)]
    axes.plot(counts, step, "o-", color=_OURS)
    axes.plot(counts, forward, "o-", color=_OTHERS)
    axes.plot(counts, dense, "--", color=_DENSE)
    first = counts[0]
    axes.plot(counts, [step[0] * n / first for n in counts], ":", color="#999999")
    ends = {
        "forward and backward": (step[-1], _OURS),
        "forward": (forward[-1], _OTHERS),
        "dense, forward and backward": (dense[-1], _DENSE),
        "proportional to E": (step[0] * counts[-1] / first, "#777777"),
    }
    heights = spread([height for height, _ in ends.values()])
    for (label, (_, colour)), height in zip(ends.items(), heights, strict=True):
        _say(axes, label, (counts[-1], height), colour)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("experts E")
    axes.set_ylabel("ms")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    shape = rows[0].shape
    what = f"topk, N={shape.tokens} D={shape.dim} H={shape.hidden} K={shape.k}: time against E"
    _title(figure, what, headline)
    return figure


def spread(heights: Sequence[float], least: float = 0.045) -> list[float]:
    """Heights on a log axis moved up until labels at them do not touch, in their order.

    Args:
        heights: above 0.
        least: the gap that is kept, relative to the whole range on the log axis.

    >>> spread([1.0, 1.0, 16.0], least=0.25)
    [1.0, 2.0, 16.0]
    """
    gap = least * math.log(max(heights) / min(heights))
    moved: dict[int, float] = {}
    lowest = -math.inf
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        moved[index] = lowest = max(math.log(heights[index]), lowest + gap)
    return [round(math.exp(moved[index]), 9) for index in range(len(heights))]


def rendered(figure: "Figure") -> dict[str, bytes]:
    """The picture by file ending."""
    pictures = {}
    for ending in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=150)
        pictures[ending] = buffer.getvalue()
    return pictures


def _ratio_panel(axes: Any, where: str, rows: Sequence[Row], labels: Sequence[str]) -> None:
    axes.set_title(f"{where}: {rows[0].shape}", fontsize=9)
    axes.axvline(1, color=_DENSE, linewidth=1)
    for row in rows:
        if row.cost is None:
            _say_absent(axes, row, labels)
            continue
        ratio, height = row.cost.step_ratio, labels.index(row.label)
        axes.barh(height, ratio - 1, left=1, height=0.66, color=_colour(row.name))
        side = 1 if ratio >= 1 else -1
        axes.annotate(
            f"{ratio:#.3g}".rstrip("."),
            (ratio, height),
            (3 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
        )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labelsize=8, labelbottom=True)


def _say_absent(axes: Any, row: Row, labels: Sequence[str]) -> None:
    """A word in place of the bar, where another panel has that bar."""
    if row.label in labels:
        word = row.absent.partition(":")[0]
        height = labels.index(row.label)
        axes.annotate(
            word,
            (1, height),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#999999",
        )


def _set_ratio_axis(axes: Any, ratios: Sequence[float], count: int) -> None:
    """A log axis whose ends leave room for the numbers beside the bars."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = min(*ratios, 1.0), max(*ratios, 1.0)
    room = (high / low) ** 0.22
    axes.set_xscale("log")
    axes.set_xlim(low / (room if low < 1 else room**0.2), high * room * 1.05)
    axes.set_ylim(count - 0.4, -0.6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _NARROW else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _colour(name: str) -> str:
    if name == "dense":
        return _DENSE
    return _OURS if name in _OWN else _OTHERS


def _say(axes: Any, text: str, point: tuple[float, float], colour: str) -> None:
    axes.annotate(
        text,
        point,
        (6, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        fontsize=9,
        annotation_clip=False,
    )


def _title(figure: "Figure", what: str, headline: str) -> None:
    """A title, and what holds for all numbers below it, in lines that fit the width."""
    wide = int(figure.get_figwidth() * 72 / 4.6)  # letters of this size are about 4.6 points wide
    figure.suptitle("\n".join([what, *textwrap.wrap(headline, wide)]), fontsize=9)
