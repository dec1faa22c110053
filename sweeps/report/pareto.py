"""Two objectives against each other: the front in colour, what is dominated in grey."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .frame import frame
from .labels import place_labels
from .marks import Dot, Figure, Line, Mark, Panel, Point, Text
from .numbers import compact, listed
from .scales import Scale, around_log
from .styles import Style
from .widths import shortened

_WIDTH, _HEIGHT = 420.0, 330.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 14.0, 30.0, 294.0
_NAME, _LONGEST = 11.0, 150.0


@dataclass(frozen=True)
class Spot:
    """An arm in the plane; ``front`` if no other arm is at least as good in both, better in one."""

    label: str
    look: Style
    x: float
    y: float
    front: bool


@dataclass(frozen=True)
class Way:
    """An axis: what it shows, and whether more of it is better."""

    name: str
    maximize: bool

    @property
    def heading(self) -> str:
        """Its name, and an arrow to where it is better."""
        return f"{self.name} ({'more' if self.maximize else 'less'} is better)"


def pareto_panel(spots: Sequence[Spot], across: Way, up: Way) -> Panel:
    """All arms on two objectives, a step line along the front."""
    x = around_log([spot.x for spot in spots], _LEFT + 8, _WIDTH - _RIGHT)
    y = around_log([spot.y for spot in spots], _BOTTOM - 4, _TOP)
    marks = frame(x, y, x_name=across.heading, y_name=up.heading)
    front = sorted((spot for spot in spots if spot.front), key=lambda spot: spot.x)
    stairs = _stairs(front, x, y, across, up)
    marks += [Line(stairs, "muted", 1, "3 3")] if stairs else []
    # the front last, so that it lies over the rest
    ordered = [*(s for s in spots if not s.front), *front]
    for spot in ordered:
        tip = f"{spot.label}: {compact(spot.y)} {up.name}, {compact(spot.x)} {across.name}"
        ink, size = (spot.look.ink, 5.5) if spot.front else ("dominated", 4.2)
        at = (x(spot.x), y(spot.y))
        marks.append(Dot(*at, spot.look.shape, ink, size, hollow=not spot.front, tip=tip))
    marks += _names([*reversed(ordered)], x, y, stairs)
    alt = (
        f"{up.name} against {across.name}. Not dominated: {listed([s.label for s in front])}. "
        + "; ".join(f"{s.label} {compact(s.x)}, {compact(s.y)}" for s in spots)
    )
    return Panel(_WIDTH, _HEIGHT, f"{up.name} against {across.name}", alt, marks)


def pareto_figure(panels: Sequence[Panel], caption: str) -> Figure:
    """The panels side by side."""
    return Figure("pareto", "Trade-offs", caption, panels, 2)


def _stairs(front: Sequence[Spot], x: Scale, y: Scale, across: Way, up: Way) -> list[Point]:
    """The border of what the front dominates: through both coordinates of its neighbours."""
    points: list[Point] = []
    for one, other in pairwise(front):
        # between two spots of a front, the corner takes the worse of each coordinate
        worst_x = min(one.x, other.x) if across.maximize else max(one.x, other.x)
        worst_y = min(one.y, other.y) if up.maximize else max(one.y, other.y)
        points += [(x(one.x), y(one.y)), (x(worst_x), y(worst_y)), (x(other.x), y(other.y))]
    return points


def _names(spots: Sequence[Spot], x: Scale, y: Scale, line: Sequence[Point]) -> list[Mark]:
    points = [(x(spot.x), y(spot.y)) for spot in spots]
    names = [shortened(spot.label, _LONGEST, _NAME) for spot in spots]
    bounds = (x.start - 6, 20.0, _WIDTH, _BOTTOM - 2)
    places = place_labels(points, names, bounds, _NAME, pairwise(line))
    marks: list[Mark] = []
    for spot, point, name, place in zip(spots, points, names, places, strict=True):
        if place is None:
            continue
        left, top, right, bottom = place.box
        if place.leader:
            near = (min(max(point[0], left), right), top if top > point[1] else bottom)
            marks.append(Line([point, near], "muted", 0.6, opacity=0.7))
        ink = "ink" if spot.front else "muted"
        marks.append(Text(left, bottom - 3, name, ink=ink, size=_NAME, halo=True))
    return marks
