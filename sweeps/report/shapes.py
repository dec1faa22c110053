"""Outlines of the markers."""

import math
from collections.abc import Mapping

from .marks import Point


def _regular(corners: int, turn: float, scale: float) -> list[Point]:
    angles = [math.pi * (turn + 2 * i / corners) for i in range(corners)]
    return [(scale * math.cos(a), scale * math.sin(a)) for a in angles]


def _star(points: int, inner: float, scale: float) -> list[Point]:
    angles = [math.pi * (i / points - 0.5) for i in range(2 * points)]
    radii = [scale, inner * scale] * points
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _plus(arm: float, turn: float) -> list[Point]:
    quarter = [(arm, -1.15), (arm, -arm)]
    corners = [(x, y) for x, y in quarter]
    for _ in range(3):
        quarter = [(-y, x) for x, y in quarter]
        corners += quarter
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


#: Corners of each marker of size 1; all cover about the same area.
SHAPES: Mapping[str, list[Point]] = {
    "circle": _regular(24, 0, 1.0),
    "square": _regular(4, 0.25, 1.25),
    "diamond": _regular(4, 0, 1.3),
    "up": _regular(3, -0.5, 1.4),
    "down": _regular(3, 0.5, 1.4),
    "plus": _plus(0.42, 0.0),
    "star": _star(5, 0.48, 1.5),
}
