"""Importance of parameters in the search: bars, one panel per study."""

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from .axes import hide_axes
from .figure import SMALL, Figure, Panel, one_line
from .palette import LIGHT
from .style import TEXT, ArmStyle
from .text import shortened

_ROW, _NAMES, _NUMBERS = 20.0, 100.0, 32.0
_MAX_BARS = 8


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
        draw = partial(_draw, bars, rows, LIGHT[color])
        panels.append(Panel(title, alt, draw, _ROW * rows + 4, SMALL, margins, title))
    return Figure("importance", "Importance of parameters", caption, panels) if panels else None


def _draw(bars: Mapping[str, float], rows: int, color: str, axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(rows - 0.5, -0.5), xticks=[])
    hide_axes(axes)
    drawn = axes.barh(range(len(bars)), [*bars.values()], 0.56, color=color, alpha=0.85)
    axes.set_yticks(range(len(bars)), [shortened(one_line(n), _NAMES - 6, TEXT) for n in bars])
    axes.bar_label(drawn, fmt="{:.0%}", padding=4)
