"""The search: value of each trial and the best so far, and importance of the parameters."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import isnan

from matplotlib.axes import Axes

from ...results.formatting import one_line
from ..data import ArmData
from ..formatting import compact
from .axes import Scale, add_dots, add_y_label, hide_axes, linear
from .render import SMALL, Figure, Panel
from .style import LIGHT, TEXT, ArmStyle
from .text import shortened

#: An arm, number and value of each of its finished trials by number, and its confirmed mean or NaN.
ArmSearch = tuple[ArmData, Sequence[tuple[int, float]], float]

_LEFT = 46.0
_ROW, _NAMES, _NUMBERS = 20.0, 100.0, 32.0
_MAX_BARS = 8


def search_figure(
    searches: Sequence[ArmSearch], maximize: bool, caption: str, label: str
) -> Figure | None:
    """Return a panel for each arm that was searched with several trials; None without any.

    ``label`` names the vertical axis.
    """
    shown = [search for search in searches if len(search[1]) > 1]
    if not shown:
        return None
    x = Scale(0.0, max(number for _, trials, _ in shown for number, _ in trials), whole=True)
    y = linear(v for _, trials, mean in shown for v in (*(value for _, value in trials), mean))

    def panel(arm: ArmData, trials: Sequence[tuple[int, float]], confirmed: float) -> Panel:
        numbers, values = zip(*trials, strict=True)
        best = list(accumulate(values, max if maximize else min))

        def draw(axes: Axes) -> None:
            x.apply(axes, "x")
            y.apply(axes, "y")
            axes.set_xlabel("trial", loc="right")
            add_y_label(axes, label, _LEFT)
            if not isnan(confirmed):
                axes.axhline(confirmed, color=LIGHT["ink"], linewidth=1, linestyle=(0, (3, 3)))
            color = LIGHT[arm.style.color]
            axes.step(numbers, best, where="post", color=color, linewidth=1.5)
            add_dots(axes, numbers, values, arm.style, radius=2.8, filled=False)

        found = f"best of {len(best)} trials {compact(best[-1])}, confirmed {compact(confirmed)}"
        margins = (_LEFT, 8.0, 8.0, 30.0)
        return Panel(arm.label, f"{arm.label}: {found}", draw, margins=margins, arm=arm.label)

    return Figure("search", "Progress of the search", caption, [panel(*each) for each in shown])


def importance_figure(
    importances: Sequence[tuple[str, Mapping[str, float]]],
    styles: Mapping[str, ArmStyle],
    caption: str,
) -> Figure | None:
    """Return a panel for each study with importances; None without any."""
    shown = [
        (title, dict(sorted(shares.items(), key=lambda pair: -pair[1])[:_MAX_BARS]))
        for title, shares in importances
        if shares
    ]
    if not shown:
        return None
    rows = max(len(bars) for _, bars in shown)

    def panel(title: str, bars: Mapping[str, float]) -> Panel:
        def draw(axes: Axes) -> None:
            axes.set(xlim=(0, 1), ylim=(rows - 0.5, -0.5), xticks=[])
            hide_axes(axes)
            axes.set_xlabel("share of variance", loc="right")
            color = LIGHT[styles[title].color if title in styles else "ink"]
            drawn = axes.barh(range(len(bars)), [*bars.values()], 0.56, color=color, alpha=0.85)
            names = [shortened(one_line(name), _NAMES - 6, TEXT) for name in bars]
            axes.set_yticks(range(len(bars)), names)
            axes.bar_label(drawn, fmt="{:.0%}", padding=4)

        alt = f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share in bars.items())
        margins = (_NAMES, _NUMBERS, 0.0, 18.0)
        return Panel(title, alt, draw, _ROW * rows + 18, SMALL, margins, title)

    panels = [panel(*each) for each in shown]
    return Figure("importance", "Importance of parameters", caption, panels)
