"""Two objectives against each other: the Pareto front in colour, dominated arms in grey."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import IdentityTransform

from ...config.objectives import Objective
from ...results.formatting import listed, one_line
from ..formatting import compact, with_direction
from .axes import Scale, add_dots, log_or_linear
from .render import Panel
from .style import LIGHT, NAME, TEXT, ArmStyle
from .text import Point, place_labels, shortened

_MARGINS = (52.0, 14.0, 30.0, 40.0)
_MAX_NAME = 150.0
_NEAR = 9.0  # beyond, a thin line leads from a name to its point


@dataclass(frozen=True)
class ParetoPoint:
    """An arm in the plane; ``front`` if no arm is at least as good in both and better in one."""

    label: str
    style: ArmStyle
    x: float
    y: float
    front: bool


def pareto_panel(
    points: Sequence[ParetoPoint],
    across: Objective,
    up: Objective,
    up_scale: Callable[[Sequence[float]], Scale] = log_or_linear,
) -> Panel:
    """Return a panel with all arms on two objectives and a step line along the front.

    ``up_scale`` makes the scale of the vertical axis from all values.
    """
    front = sorted((point for point in points if point.front), key=lambda point: point.x)
    title = f"{up.metric} against {across.metric}"
    alt = f"{title}. Not dominated: {listed([p.label for p in front])}. " + "; ".join(
        f"{p.label} {compact(p.x)}, {compact(p.y)}" for p in points
    )
    # the front last, so that it lies over the rest
    ordered = [*(point for point in points if not point.front), *front]
    line = front_line(front, across, up)

    def draw(axes: Axes) -> None:
        log_or_linear([point.x for point in points]).apply(axes, "x")
        up_scale([point.y for point in points]).apply(axes, "y")
        room = axes.get_window_extent().width + _MARGINS[0]
        axes.set_xlabel(shortened(with_direction(across), room, TEXT), loc="right", labelpad=3)
        corner = (0, 1), (-_MARGINS[0], 20), "axes fraction", "offset points"
        axes.annotate(with_direction(up), *corner)
        if line:
            x, y = zip(*line, strict=True)
            axes.plot(x, y, color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 3)))
        for point in ordered:
            style = point.style if point.front else ArmStyle("dominated", point.style.marker)
            values = f"{compact(point.y)} {up.metric}, {compact(point.x)} {across.metric}"
            tip = f"{point.label}: {values}"
            radius = 5.5 if point.front else 4.2
            add_dots(axes, [point.x], [point.y], style, radius=radius, filled=point.front, tip=tip)
        _name(ordered[::-1], line, axes)

    return Panel(title, alt, draw, 330.0, 420.0, _MARGINS, least=200.0, square=True)


def front_line(front: Sequence[ParetoPoint], across: Objective, up: Objective) -> list[Point]:
    """Return the border of what the front, sorted by ``x``, dominates: corners of a step line."""
    line: list[Point] = []
    for one, other in pairwise(front):
        # between two neighbours, the corner takes the worse of each coordinate
        x = across.sign * max(across.sign * one.x, across.sign * other.x)
        y = up.sign * max(up.sign * one.y, up.sign * other.y)
        line += [(one.x, one.y), (x, y), (other.x, other.y)]
    return line


def _name(points: Sequence[ParetoPoint], line: Sequence[Point], axes: Axes) -> None:
    """Write names next to the points, the front first, while there is room."""
    in_points = axes.transData.transform
    at = in_points([(point.x, point.y) for point in points]).tolist()
    corners = in_points(np.reshape(line, (-1, 2))).tolist()
    names = [shortened(one_line(point.label), _MAX_NAME, NAME) for point in points]
    area = axes.get_window_extent()
    bounds = (area.x0 + 2, area.y0 - 2, area.x1 + _MARGINS[1], area.y1 + 8)
    places = place_labels(at, names, bounds, NAME, pairwise(corners))
    for point, (x, y), name, place in zip(points, at, names, places, strict=True):
        if place is None:
            continue
        left, bottom, right, top = place
        if max(left - x, x - right, bottom - y, y - top) > _NEAR:
            ends = (x, min(max(x, left), right)), (y, bottom if bottom > y else top)
            (leader,) = axes.plot(*ends, transform=IdentityTransform())
            leader.set(color=LIGHT["muted"], linewidth=0.6, alpha=0.7)
        text = axes.text(left, bottom + 3, name, transform=IdentityTransform(), size=NAME)
        text.set_color(LIGHT["ink" if point.front else "muted"])
        text.set_bbox({"facecolor": LIGHT["paper"], "alpha": 0.75, "linewidth": 0, "pad": 0.5})
