"""Progress of the search: the value of each trial and the best so far, one panel per arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from matplotlib.axes import Axes

from ..formatting import compact
from .axes import Scale, add_dots, counts, linear
from .figure import Figure, Panel
from .palette import LIGHT
from .style import ArmStyle


@dataclass(frozen=True)
class ArmSearch:
    """Number and value of each finished trial of an arm, by number, and its confirmed mean."""

    label: str
    trials: Sequence[tuple[int, float]]
    confirmed: float | None


def search_figure(
    searches: Sequence[ArmSearch], styles: Mapping[str, ArmStyle], maximize: bool, caption: str
) -> Figure | None:
    """Return a panel for each arm that was searched with several trials; None without any."""
    shown = [search for search in searches if len(search.trials) > 1]
    if not shown:
        return None
    values = [value for search in shown for _, value in search.trials]
    values += [search.confirmed for search in shown if search.confirmed is not None]
    x = counts(max(number for search in shown for number, _ in search.trials))
    y = linear(values)
    panels = []
    for search in shown:
        best = list(accumulate((v for _, v in search.trials), max if maximize else min))
        alt = (
            f"{search.label}: best of {len(best)} trials {compact(best[-1])}, "
            f"confirmed {compact(search.confirmed)}"
        )
        draw = partial(_draw, search, best, styles[search.label], x, y)
        panels.append(Panel(search.label, alt, draw, arm=search.label))
    return Figure("search", "Progress of the search", caption, panels)


def _draw(
    search: ArmSearch,
    best: Sequence[float],
    style: ArmStyle,
    x: Scale,
    y: Scale,
    axes: Axes,
) -> None:
    x.set_x(axes)
    y.set_y(axes)
    axes.set_xlabel("trial", loc="right")
    if search.confirmed is not None:
        level = search.confirmed
        axes.axhline(level, color=LIGHT["ink"], linewidth=1, linestyle=(0, (3, 3)))
    numbers, values = zip(*search.trials, strict=True)
    axes.step(numbers, best, where="post", color=LIGHT[style.color], linewidth=1.5)
    add_dots(axes, numbers, values, style, radius=2.8, filled=False)
