"""Importance of parameters in the search: bars, one panel per study."""

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from .axes import add_boxes
from .figure import SMALL, Figure, Panel, printable
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
    neutral = ArmStyle("ink", "o")
    shown = [
        (title, sorted(shares.items(), key=lambda pair: -pair[1])[:_MAX_BARS])
        for title, shares in importances
        if shares
    ]
    rows = max((len(bars) for _, bars in shown), default=0)
    margins = (_NAMES, _NUMBERS, 0.0, 4.0)
    panels = []
    for title, bars in shown:
        alt = f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share in bars)
        draw = partial(_draw, bars, rows, styles.get(title, neutral))
        panels.append(Panel(title, alt, draw, _ROW * rows + 4, SMALL, margins, title))
    return Figure("importance", "Importance of parameters", caption, panels) if panels else None


def _draw(bars: Sequence[tuple[str, float]], rows: int, style: ArmStyle, axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(rows, 0), xticks=[])
    axes.spines["bottom"].set_visible(False)
    names = [shortened(printable(name), _NAMES - 6, TEXT) for name, _ in bars]
    axes.set_yticks([i + 0.5 for i in range(len(bars))], names)
    axes.grid(visible=False)
    add_boxes(
        axes,
        [(0.0, i + 0.22, max(0.01, share), 0.56) for i, (_, share) in enumerate(bars)],
        style.color,
        0.85,
    )
    for i, (_, share) in enumerate(bars):
        axes.annotate(
            f"{share:.0%}",
            (share, i + 0.5),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center_baseline",
        )
