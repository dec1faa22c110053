"""How the work was shared out in the end: a bar per expert, the busiest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .frame import rules
from .marks import Boxes, Figure, Line, Panel, Text
from .numbers import compact
from .scales import Scale, around
from .styles import Style

_WIDTH, _HEIGHT = 200.0, 128.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 30.0, 8.0, 8.0, 108.0
_NARROWEST = 3.0
_HIGHEST = 8.0  # times the mean; taller bars are cut off and say how tall they are


@dataclass(frozen=True)
class Loads:
    """Of one arm and layer: load over the mean load, of each run, the busiest expert first."""

    label: str
    layer: int
    runs: Sequence[Sequence[float]]


def relative_load(load: Sequence[float]) -> list[float]:
    """Loads over their mean, the largest first.

    >>> relative_load([1, 3])
    [1.5, 0.5]
    """
    mean = sum(load) / len(load)
    return sorted((each / mean if mean else 0.0 for each in load), reverse=True)


def load_figure(loads: Sequence[Loads], looks: Mapping[str, Style], caption: str) -> Figure | None:
    """A panel for each arm and layer that has several experts, all to one scale."""
    shown = [each for each in loads if each.runs and len(each.runs[0]) > 1]
    if not shown:
        return None
    numbers = (min(value, _HIGHEST) for each in shown for run in each.runs for value in run)
    y = around([*numbers, 1.0], _BOTTOM, _TOP, zero=True, pad=0.05)
    panels = [_panel(each, looks[each.label], y) for each in shown]
    return Figure("load", "Load of each expert at the end", caption, panels)


def _panel(each: Loads, look: Style, y: Scale) -> Panel:
    columns = list(zip(*each.runs, strict=False))
    experts = len(columns)
    pitch = (_WIDTH - _LEFT - _RIGHT) / experts
    gap = 0.25 * pitch if pitch > _NARROWEST else 0.0
    means = [sum(column) / len(column) for column in columns]
    bars = [
        (_LEFT + i * pitch + gap / 2, y(mean), pitch - gap, _BOTTOM - y(mean))
        for i, mean in enumerate(means)
    ]
    marks = rules(Scale(0, 1, _LEFT, _WIDTH - _RIGHT), y)
    marks.append(Boxes(bars, look.ink, opacity=0.85))
    if pitch > _NARROWEST:
        for i, column in enumerate(columns):
            at = _LEFT + (i + 0.5) * pitch
            if min(column) != max(column):
                marks.append(Line([(at, y(min(column))), (at, y(max(column)))], "ink", 1))
    marks.append(Line([(_LEFT, y(1)), (_WIDTH - _RIGHT, y(1))], "ink", 1, "3 3"))
    marks.append(
        Text(_WIDTH - _RIGHT, _BOTTOM + 13, f"{experts} experts, busiest first", "end", size=10)
    )
    if means[0] > _HIGHEST:
        marks.append(Text(_LEFT + pitch + 3, _TOP + 6, f"busiest: {compact(means[0])}", size=10))
    alt = (
        f"{each.label}, layer {each.layer}: the busiest of {experts} experts has "
        f"{compact(means[0])} times the mean load, the idlest {compact(means[-1])}"
    )
    return Panel(_WIDTH, _HEIGHT, f"{each.label} · layer {each.layer}", alt, marks, each.label)
