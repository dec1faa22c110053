"""A panel as PDF, through matplotlib where it is installed.

matplotlib only places the marks that are drawn already: it knows how to embed a font, which
publishers ask for, and lays nothing out.
"""

import warnings
from functools import singledispatch
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .inks import as_light
from .marks import Area, Boxes, Dot, Line, Mark, Panel, Text
from .shapes import SHAPES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
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
    from matplotlib.lines import Line2D

    x, y = zip(*mark.points, strict=True)
    dashes = tuple(float(n) / mark.width for n in mark.dash.split())
    line = Line2D(x, y, linewidth=mark.width * _POINTS, linestyle=(0, dashes) if dashes else "-")
    _add(line, axes, order, color=as_light(mark.ink), alpha=mark.opacity)


@_draw.register(Area)
def _(mark: Area, axes: "Axes", order: int) -> None:
    from matplotlib.patches import Polygon

    shape = Polygon(list(mark.points), linewidth=0)
    _add(shape, axes, order, facecolor=as_light(mark.ink), alpha=mark.opacity)


@_draw.register(Boxes)
def _(mark: Boxes, axes: "Axes", order: int) -> None:
    from matplotlib.collections import PolyCollection

    corners = [((x, y), (x + w, y), (x + w, y + h), (x, y + h)) for x, y, w, h in mark.boxes]
    shapes = PolyCollection(corners, linewidth=0)
    _add(shapes, axes, order, facecolor=as_light(mark.ink), alpha=mark.opacity)


@_draw.register(Dot)
def _(mark: Dot, axes: "Axes", order: int) -> None:
    from matplotlib.patches import Polygon

    corners = [(mark.x + mark.size * x, mark.y + mark.size * y) for x, y in SHAPES[mark.shape]]
    inner, outer = ("paper", mark.ink) if mark.hollow else (mark.ink, "paper")
    shape = Polygon(corners, linewidth=_POINTS)
    _add(shape, axes, order, facecolor=as_light(inner), edgecolor=as_light(outer))


@_draw.register(Text)
def _(mark: Text, axes: "Axes", order: int) -> None:
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text as Label

    label = Label(
        mark.x,
        mark.y,
        mark.text,
        fontsize=mark.size * _POINTS * _NARROWER,
        verticalalignment="baseline",
        fontweight="bold" if mark.bold else "normal",
        parse_math=False,
    )
    if mark.halo:
        label.set_path_effects([withStroke(linewidth=2, foreground=as_light("paper"))])
    across = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
    _add(label, axes, order, color=as_light(mark.ink), horizontalalignment=across)


def _add(artist: "Artist", axes: "Axes", order: int, **looks: Any) -> None:
    """Without the layout that ``axes.plot`` and the like do for each call."""
    artist.set(zorder=order, clip_on=False, **looks)
    axes.add_artist(artist)
