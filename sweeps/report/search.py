"""How the search went: the value of each trial and the best so far, one panel per arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .frame import frame
from .marks import Dot, Figure, Line, Panel
from .numbers import compact
from .scales import around, counts
from .styles import Style

_WIDTH, _HEIGHT = 200.0, 142.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 8.0, 8.0, 112.0


@dataclass(frozen=True)
class Search:
    """Of one arm: number and value of each finished trial, and the mean that was confirmed."""

    label: str
    trials: Sequence[tuple[int, float]]
    confirmed: float | None


def search_figure(
    searches: Sequence[Search], looks: Mapping[str, Style], maximize: bool, caption: str
) -> Figure | None:
    """A panel for each arm that was searched with more than one trial."""
    shown = [search for search in searches if len(search.trials) > 1]
    if not shown:
        return None
    values = [value for search in shown for _, value in search.trials]
    values += [search.confirmed for search in shown if search.confirmed is not None]
    highest = max(number for search in shown for number, _ in search.trials)
    x = counts(highest, _LEFT + 4, _WIDTH - _RIGHT)
    y = around(values, _BOTTOM, _TOP, pad=0.08)
    better = max if maximize else min
    panels = []
    for search in shown:
        look = looks[search.label]
        trials = sorted(search.trials)
        best = [better(v for _, v in trials[: i + 1]) for i in range(len(trials))]
        stairs = [(x(trials[0][0]), y(best[0]))]
        for (number, _), value in zip(trials[1:], best[1:], strict=True):
            stairs += [(x(number), stairs[-1][1]), (x(number), y(value))]
        marks = frame(x, y, x_name="trial")
        if search.confirmed is not None:
            level = y(search.confirmed)
            marks.append(Line([(x.start, level), (x.end, level)], "ink", 1, "3 3"))
        marks.append(Line(stairs, look.ink, 1.5))
        marks += [Dot(x(n), y(v), look.shape, look.ink, 2.8, hollow=True) for n, v in trials]
        alt = (
            f"{search.label}: best of {len(trials)} trials {compact(best[-1])}, "
            f"confirmed {compact(search.confirmed)}"
        )
        panels.append(Panel(_WIDTH, _HEIGHT, search.label, alt, marks, search.label))
    return Figure("search", "How the search went", caption, panels)
