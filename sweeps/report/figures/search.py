"""The search: value of each trial and the best so far, and importance of the parameters."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate

from matplotlib.axes import Axes

from ..data import ArmData
from ..formatting import compact
from .axes import Scale, add_dots, counts, hide_axes, linear
from .render import SMALL, Figure, Panel, one_line
from .style import LIGHT, TEXT, ArmStyle
from .text import shortened

#: An arm, number and value of each of its finished trials by number, and its confirmed mean.
ArmSearch = tuple[ArmData, Sequence[tuple[int, float]], float | None]

_ROW, _NAMES, _NUMBERS = 20.0, 100.0, 32.0
_MAX_BARS = 8


def search_figure(searches: Sequence[ArmSearch], maximize: bool, caption: str) -> Figure | None:
    """Return a panel for each arm that was searched with several trials; None without any."""
    shown = [search for search in searches if len(search[1]) > 1]
    if not shown:
        return None
    values = [value for _, trials, _ in shown for _, value in trials]
    values += [confirmed for *_, confirmed in shown if confirmed is not None]
    x = counts(max(number for _, trials, _ in shown for number, _ in trials))
    y = linear(values)
    panels = []
    for arm, trials, confirmed in shown:
        best = list(accumulate((v for _, v in trials), max if maximize else min))
        alt = (
            f"{arm.label}: best of {len(best)} trials {compact(best[-1])}, "
            f"confirmed {compact(confirmed)}"
        )
        draw = partial(_draw_trials, trials, confirmed, best, arm.style, x, y)
        panels.append(Panel(arm.label, alt, draw, arm=arm.label))
    return Figure("search", "Progress of the search", caption, panels)


def _draw_trials(
    trials: Sequence[tuple[int, float]],
    confirmed: float | None,
    best: Sequence[float],
    style: ArmStyle,
    x: Scale,
    y: Scale,
    axes: Axes,
) -> None:
    x.apply(axes, "x")
    y.apply(axes, "y")
    axes.set_xlabel("trial", loc="right")
    if confirmed is not None:
        axes.axhline(confirmed, color=LIGHT["ink"], linewidth=1, linestyle=(0, (3, 3)))
    numbers, values = zip(*trials, strict=True)
    axes.step(numbers, best, where="post", color=LIGHT[style.color], linewidth=1.5)
    add_dots(axes, numbers, values, style, radius=2.8, filled=False)


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
    rows = max((len(bars) for _, bars in shown), default=0)
    margins = (_NAMES, _NUMBERS, 0.0, 4.0)
    panels = []
    for title, bars in shown:
        alt = f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share in bars.items())
        color = styles[title].color if title in styles else "ink"
        draw = partial(_draw_bars, bars, rows, LIGHT[color])
        panels.append(Panel(title, alt, draw, _ROW * rows + 4, SMALL, margins, title))
    return Figure("importance", "Importance of parameters", caption, panels) if panels else None


def _draw_bars(bars: Mapping[str, float], rows: int, color: str, axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(rows - 0.5, -0.5), xticks=[])
    hide_axes(axes)
    drawn = axes.barh(range(len(bars)), [*bars.values()], 0.56, color=color, alpha=0.85)
    axes.set_yticks(range(len(bars)), [shortened(one_line(n), _NAMES - 6, TEXT) for n in bars])
    axes.bar_label(drawn, fmt="{:.0%}", padding=4)
