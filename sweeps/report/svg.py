"""Panels as SVG."""

from collections.abc import Callable, Iterable
from functools import singledispatch

from .html import Safe, tag
from .marks import Area, Boxes, Dot, Line, Mark, Panel, Point, Text
from .shapes import SHAPES

#: From the name of a colour to what SVG calls it.
Ink = Callable[[str], str]


def svg(panel: Panel, ink: Ink, class_: str | None = None) -> Safe:
    """A panel as an ``svg`` element that scales with its surroundings."""
    return tag(
        "svg",
        *marks_as_svg(panel.marks, ink),
        viewBox=f"0 0 {_n(panel.width)} {_n(panel.height)}",
        role="img" if panel.alt else None,
        aria_label=panel.alt or None,
        aria_hidden=None if panel.alt else "true",
        class_=class_,
    )


def marks_as_svg(marks: Iterable[Mark], ink: Ink) -> list[Safe]:
    """Each mark as an element."""
    return [_draw(mark, ink) for mark in marks]


@singledispatch
def _draw(mark: Mark, ink: Ink) -> Safe:
    raise TypeError(type(mark).__name__)


@_draw.register
def _(mark: Line, ink: Ink) -> Safe:
    return tag(
        "path",
        d="M" + " ".join(map(_xy, mark.points)),
        fill="none",
        stroke=ink(mark.ink),
        stroke_width=_n(mark.width),
        stroke_dasharray=mark.dash or None,
        stroke_linejoin="round",
        opacity=_opacity(mark.opacity),
    )


@_draw.register
def _(mark: Area, ink: Ink) -> Safe:
    return tag(
        "path",
        d="M" + " ".join(map(_xy, mark.points)) + "Z",
        fill=ink(mark.ink),
        opacity=_opacity(mark.opacity),
    )


@_draw.register
def _(mark: Boxes, ink: Ink) -> Safe:
    boxes = (f"M{_xy((x, y))}h{_n(w)}v{_n(h)}h{_n(-w)}z" for x, y, w, h in mark.boxes)
    return tag("path", d="".join(boxes), fill=ink(mark.ink), opacity=_opacity(mark.opacity))


@_draw.register
def _(mark: Dot, ink: Ink) -> Safe:
    corners = [(mark.x + mark.size * x, mark.y + mark.size * y) for x, y in SHAPES[mark.shape]]
    return tag(
        "path",
        *([tag("title", mark.tip)] if mark.tip else []),
        d="M" + " ".join(map(_xy, corners)) + "Z",
        fill=ink("paper" if mark.hollow else mark.ink),
        stroke=ink(mark.ink if mark.hollow else "paper"),
        stroke_width="1.3" if mark.hollow else "0.8",
    )


@_draw.register
def _(mark: Text, ink: Ink) -> Safe:
    return tag(
        "text",
        mark.text,
        x=_n(mark.x),
        y=_n(mark.y),
        text_anchor=None if mark.anchor == "start" else mark.anchor,
        fill=ink(mark.ink),
        font_size=_n(mark.size),
        font_weight="600" if mark.bold else None,
        **(_halo(ink) if mark.halo else {}),
    )


def _halo(ink: Ink) -> dict[str, str]:
    return {"stroke": ink("paper"), "stroke_width": "3", "paint_order": "stroke"}


def _n(value: float) -> str:
    return f"{round(value, 1):g}"


def _xy(point: Point) -> str:
    return f"{_n(point[0])},{_n(point[1])}"


def _opacity(value: float) -> str | None:
    return None if value == 1 else f"{value:.2g}"
