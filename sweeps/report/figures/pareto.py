"""Two objectives against each other: the Pareto front in colour, dominated arms in grey."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.transforms import IdentityTransform

from ..formatting import compact, listed
from .axes import add_dots, log_or_linear
from .render import Panel, one_line
from .style import LIGHT, NAME, ArmStyle
from .text import Point, place_labels, shortened

_WIDTH, _HEIGHT = 420.0, 330.0
_MARGINS = (52.0, 14.0, 30.0, 40.0)
_MAX_NAME = 150.0


@dataclass(frozen=True)
class ParetoPoint:
    """An arm in the plane; ``front`` if no arm is at least as good in both and better in one."""

    label: str
    style: ArmStyle
    x: float
    y: float
    front: bool


@dataclass(frozen=True)
class Axis:
    """The metric on an axis, and whether more of it is better."""

    name: str
    maximize: bool

    @property
    def heading(self) -> str:
        """Its name and its better direction."""
        return f"{self.name} ({'more' if self.maximize else 'less'} is better)"


def pareto_panel(points: Sequence[ParetoPoint], across: Axis, up: Axis) -> Panel:
    """Return a panel with all arms on two objectives and a step line along the front."""
    front = sorted((point for point in points if point.front), key=lambda point: point.x)
    title = f"{up.name} against {across.name}"
    alt = f"{title}. Not dominated: {listed([p.label for p in front])}. " + "; ".join(
        f"{p.label} {compact(p.x)}, {compact(p.y)}" for p in points
    )
    # the front last, so that it lies over the rest
    ordered = [*(point for point in points if not point.front), *front]
    draw = partial(_draw, ordered, front_line(front, across, up), across, up)
    return Panel(title, alt, draw, _HEIGHT, _WIDTH, _MARGINS)


def front_line(front: Sequence[ParetoPoint], across: Axis, up: Axis) -> list[Point]:
    """Return the border of what the front, sorted by ``x``, dominates: corners of a step line."""
    line: list[Point] = []
    for one, other in pairwise(front):
        # between two neighbours, the corner takes the worse of each coordinate
        x = min(one.x, other.x) if across.maximize else max(one.x, other.x)
        y = min(one.y, other.y) if up.maximize else max(one.y, other.y)
        line += [(one.x, one.y), (x, y), (other.x, other.y)]
    return line


def _draw(
    points: Sequence[ParetoPoint], line: Sequence[Point], across: Axis, up: Axis, axes: Axes
) -> None:
    log_or_linear([point.x for point in points], bins=6).apply(axes, "x")
    log_or_linear([point.y for point in points], bins=6).apply(axes, "y")
    axes.set_xlabel(across.heading, loc="right", labelpad=3)
    axes.annotate(
        up.heading,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-_MARGINS[0], 20),
        textcoords="offset points",
    )
    if line:
        x, y = zip(*line, strict=True)
        axes.plot(x, y, color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 3)))
    for point in points:
        style = point.style if point.front else ArmStyle("dominated", point.style.marker)
        tip = f"{point.label}: {compact(point.y)} {up.name}, {compact(point.x)} {across.name}"
        radius = 5.5 if point.front else 4.2
        add_dots(axes, [point.x], [point.y], style, radius=radius, filled=point.front, tip=tip)
    _name(points[::-1], line, axes)


def _name(points: Sequence[ParetoPoint], line: Sequence[Point], axes: Axes) -> None:
    """Write names next to the points, the front first, while there is room."""
    at = [_in_points(axes, (point.x, point.y)) for point in points]
    names = [shortened(one_line(point.label), _MAX_NAME, NAME) for point in points]
    box = axes.get_window_extent()
    bounds = (box.x0 + 2, box.y0 - 2, box.x1 + _MARGINS[1], box.y1 + 8)
    corners = [_in_points(axes, corner) for corner in line]
    places = place_labels(at, names, bounds, NAME, pairwise(corners))
    for point, (x, y), name, place in zip(points, at, names, places, strict=True):
        if place is None:
            continue
        left, bottom, right, top = place.box
        if place.leader:
            end = (min(max(x, left), right), bottom if bottom > y else top)
            (line_to,) = axes.plot((x, end[0]), (y, end[1]), transform=IdentityTransform())
            line_to.set(color=LIGHT["muted"], linewidth=0.6, alpha=0.7)
        axes.text(
            left,
            bottom + 3,
            name,
            transform=IdentityTransform(),
            size=NAME,
            color=LIGHT["ink" if point.front else "muted"],
            bbox={"facecolor": LIGHT["paper"], "alpha": 0.75, "linewidth": 0, "pad": 0.5},
        )


def _in_points(axes: Axes, point: Point) -> Point:
    x, y = axes.transData.transform(point)
    return float(x), float(y)
