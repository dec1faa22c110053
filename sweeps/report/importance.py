"""Which parameters mattered in the search: bars, one panel per study."""

from collections.abc import Mapping, Sequence

from .marks import Boxes, Figure, Mark, Panel, Text
from .styles import Style
from .widths import shortened

_WIDTH, _ROW, _NAMES = 200.0, 20.0, 100.0
_MOST = 8


def importance_figure(
    importances: Sequence[tuple[str, Mapping[str, float]]],
    looks: Mapping[str, Style],
    caption: str,
) -> Figure | None:
    """A panel for each study whose parameters could be told apart."""
    neutral = Style("ink", "circle")
    shown = [(title, shares) for title, shares in importances if shares]
    rows = min(_MOST, max((len(shares) for _, shares in shown), default=0))
    panels = [_panel(title, shares, looks.get(title, neutral), rows) for title, shares in shown]
    return Figure("importance", "Which settings mattered", caption, panels) if panels else None


def _panel(title: str, shares: Mapping[str, float], look: Style, rows: int) -> Panel:
    top = sorted(shares.items(), key=lambda pair: -pair[1])[:_MOST]
    marks: list[Mark] = []
    for i, (name, share) in enumerate(top):
        at = i * _ROW
        text = shortened(name, _NAMES - 6, 10)
        marks += [
            Text(_NAMES - 6, at + 13, text, "end", size=10),
            Boxes([(_NAMES, at + 4, max(1.0, share * (_WIDTH - _NAMES - 32)), 11)], look.ink, 0.85),
            Text(_NAMES + 4 + share * (_WIDTH - _NAMES - 32), at + 13, f"{share:.0%}", size=10),
        ]
    alt = f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share in top)
    return Panel(_WIDTH, _ROW * rows + 4, title, alt, marks, title)
