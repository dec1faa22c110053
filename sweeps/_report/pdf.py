"""A panel as PDF, through matplotlib where it is installed.

matplotlib only places the marks that are drawn already: it knows how to embed a font, which
publishers ask for, and lays nothing out.
"""

import re
import warnings
from functools import singledispatch
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .inks import as_light
from .marks import Area, Boxes, Dot, Line, Mark, Panel, Text
from .shapes import SHAPES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 0.75  # of a pixel
_NARROWER = 0.88  # matplotlib's own font is wider than the page's
_INCH = 96.0
#: Fonts as TrueType, not as drawings; no point of a line left out.
_SETTINGS = {"pdf.fonttype": 42, "font.family": "DejaVu Sans", "path.simplify": False}


def write_pdf(path: Path, panel: Panel) -> list[Path]:
    """Write the panel in light colours; an empty list where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return []
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with (
        warnings.catch_warnings(),
        rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans", "path.simplify": False}),
    ):
        figure = Figure(figsize=(panel.width / _INCH, panel.height / _INCH))
        axes = figure.add_axes((0, 0, 1, 1), frameon=False)
        axes.set(xlim=(0, panel.width), ylim=(panel.height, 0), xticks=[], yticks=[])
        for order, mark in enumerate(panel.marks):
            _draw(mark, axes, order)
        warnings.filterwarnings("ignore", "Glyph")  # a script that the font lacks: boxes
        # without a date the same figure is the same file
        figure.savefig(path, metadata={"CreationDate": None, "Title": panel.title})
    return [path]


@singledispatch
def _draw(mark: Mark, axes: "Axes", order: int) -> None:
    raise TypeError(type(mark).__name__)


@_draw.register(Line)
def _(mark: Line, axes: "Axes", order: int) -> None:
    x, y = zip(*mark.points, strict=True)
    dashes = [float(n) / mark.width for n in re.findall(r"[\d.]+", mark.dash)]
    axes.plot(
        x,
        y,
        color=as_light(mark.ink),
        linewidth=mark.width * _POINTS,
        linestyle=(0, tuple(dashes)) if dashes else "-",
        alpha=mark.opacity,
        clip_on=False,
        zorder=order,
    )


@_draw.register(Area)
def _(mark: Area, axes: "Axes", order: int) -> None:
    x, y = zip(*mark.points, strict=True)
    (shape,) = axes.fill(x, y, color=as_light(mark.ink), alpha=mark.opacity, linewidth=0)
    shape.set(zorder=order, clip_on=False)


@_draw.register(Boxes)
def _(mark: Boxes, axes: "Axes", order: int) -> None:
    from matplotlib.collections import PolyCollection

    corners = [((x, y), (x + w, y), (x + w, y + h), (x, y + h)) for x, y, w, h in mark.boxes]
    shapes = PolyCollection(corners, facecolors=as_light(mark.ink), alpha=mark.opacity, linewidth=0)
    shapes.set(zorder=order, clip_on=False)
    axes.add_collection(shapes, autolim=False)


@_draw.register(Dot)
def _(mark: Dot, axes: "Axes", order: int) -> None:
    corners = [(mark.x + mark.size * x, mark.y + mark.size * y) for x, y in SHAPES[mark.shape]]
    x, y = zip(*corners, strict=True)
    (shape,) = axes.fill(
        x,
        y,
        facecolor=as_light("paper" if mark.hollow else mark.ink),
        edgecolor=as_light(mark.ink if mark.hollow else "paper"),
        linewidth=_POINTS,
    )
    shape.set(zorder=order, clip_on=False)


@_draw.register(Text)
def _(mark: Text, axes: "Axes", order: int) -> None:
    from matplotlib.patheffects import withStroke

    axes.text(
        mark.x,
        mark.y,
        mark.text,
        fontsize=mark.size * _POINTS * _NARROWER,
        color=as_light(mark.ink),
        ha={"start": "left", "middle": "center", "end": "right"}[mark.anchor],
        va="baseline",
        fontweight="bold" if mark.bold else "normal",
        zorder=order,
        clip_on=False,
        parse_math=False,
        path_effects=[withStroke(linewidth=2, foreground=as_light("paper"))] if mark.halo else [],
    )
