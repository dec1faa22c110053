"""Critical-difference diagram: mean ranks of arms, with bars over those that do not differ."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from ...results.formatting import listed, one_line
from ...statistics import CriticalDifference
from .axes import add_dots
from .render import Figure, Panel
from .style import LIGHT, NAME, TEXT, ArmStyle
from .text import shortened, text_width

_WIDTH, _AXIS, _BAR, _NAME_ROW, _EDGE = 460.0, 30.0, 8.0, 16.0, 6.0
_MAX_NAME = 180.0


def rank_figure(found: CriticalDifference, styles: Mapping[str, ArmStyle], caption: str) -> Figure:
    """Return the diagram of Demšar (2006); the best arms are at the left."""
    half = (len(found.ranks) + 1) // 2
    height = _AXIS + _BAR * len(found.cliques) + _NAME_ROW * half + 8
    alt = "; ".join(f"{label} {rank:.2f}" for label, rank in found.ranks.items())
    alt += "".join(f". Not different: {listed(each)}" for each in found.cliques)

    def draw(axes: Axes) -> None:
        _draw(axes, found, styles, height)

    panel = Panel("", f"Mean ranks: {alt}", draw, height, _WIDTH, (0, 0, 0, 0), least=300.0)
    return Figure("ranks", "Mean ranks", caption, [panel], columns=1)


def _draw(
    axes: Axes, found: CriticalDifference, styles: Mapping[str, ArmStyle], height: float
) -> None:
    # coordinates are points from the upper left corner
    width = axes.get_window_extent().width
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    labels, count = list(found.ranks), len(found.ranks)
    half = (count + 1) // 2
    room = min(_MAX_NAME, width / 3)
    names = {label: shortened(one_line(label), room, NAME) for label in labels}
    left = _margin([names[label] for label in labels[:half]])
    right = width - _margin([names[label] for label in labels[half:]])

    def x(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (count - 1)

    axes.hlines(_AXIS, left, right, color=LIGHT["muted"], linewidth=1)
    every = max(1, -(-count // 12))
    for rank in range(1, count + 1, every):
        axes.vlines(x(rank), _AXIS - 4, _AXIS, color=LIGHT["muted"], linewidth=1)
        text = axes.text(x(rank), _AXIS - 7, f"{rank}", size=TEXT, ha="center", va="baseline")
        text.set_color(LIGHT["muted"])
    below = _AXIS + _BAR * len(found.cliques) + 8
    for index, label in enumerate(labels):
        is_left = index < half
        row = index if is_left else count - 1 - index
        y, at = below + _NAME_ROW * (row + 0.5), x(found.ranks[label])
        end = left if is_left else right
        axes.plot([at, at, end], [_AXIS, y, y], color=LIGHT[styles[label].color], linewidth=1.1)
        add_dots(
            axes, [end], [y], styles[label], radius=3.6, tip=f"{label}: {found.ranks[label]:.2f}"
        )
        place = (end - _EDGE, "right") if is_left else (end + _EDGE, "left")
        name = axes.text(place[0], y, names[label], size=NAME, ha=place[1], va="center_baseline")
        name.set_color(LIGHT["ink"])
    for number, clique in enumerate(found.cliques):
        ends = [found.ranks[label] for label in clique]
        y = _AXIS + _BAR * (number + 1)
        low, high = x(min(ends)) - 3, x(max(ends)) + 3
        (bar,) = axes.plot([low, high], [y, y], color=LIGHT["ink"], linewidth=3.2)
        bar.set_zorder(4)


def _margin(names: Sequence[str]) -> float:
    return max((text_width(name, NAME) for name in names), default=0.0) + _EDGE + 6
