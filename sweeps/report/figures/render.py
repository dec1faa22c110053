"""Figures: panels with a drawing function each, drawn once for the page, as SVG and as PDF file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO, StringIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from ...results.formatting import one_line
from . import svg
from .style import LIGHT, NAME, figure_style
from .text import Box, shortened

#: Width of a small multiple, and of an inch, in points.
SMALL, INCH = 200.0, 72.0


@dataclass(frozen=True)
class Panel:
    """One plot of a figure, in points, with the function that draws into its axes.

    ``alt`` is its content in words and numbers, for readers who do not see it; ``margins`` are
    left, right, top and bottom of the axes, for tick labels and names; ``arm`` is the label of
    the only arm that it shows. ``least`` is the smallest width at which it is readable; a
    ``square`` panel that becomes narrower becomes lower too.
    """

    title: str
    alt: str
    draw: "Callable[[Axes], None]"
    height: float = 142.0
    width: float = SMALL
    margins: tuple[float, float, float, float] = (34.0, 8.0, 8.0, 30.0)
    arm: str | None = None
    least: float = 140.0
    square: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, at least one; ``name`` is that of the files.

    The files have ``columns`` panels in a row, and ``title_width`` points for titles left of the
    panels, where 0 puts titles above; on the page the panels flow.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 4
    title_width: float = 0.0


_GAP, _TITLE = 14.0, 18.0
_NO_DATE = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn: an element for each panel on the page, and the content of files."""

    figure: Figure
    panels: Sequence[str]
    svg: str
    pdf: bytes


def render(figure: Figure, width: float | None = None) -> Drawing:
    """Draw a figure; the same figure gives the same bytes.

    The files have ``width`` points, or what their panels need; fonts have the same size in both.
    """
    with figure_style():
        sheet, boxes, size = _draw(figure)
        page = paper = svg.simplified(_as_svg(sheet))
        if width is not None:
            sheet, _, size = _draw(fitted(figure, width))
            paper = svg.simplified(_as_svg(sheet))
        pdf = as_pdf(sheet, figure.title)
    document = svg.document(paper, *size, figure.title, figure.caption)
    words = [one_line(panel.alt) for panel in figure.panels]
    panels = svg.panels(page, boxes, words)  # last, as it changes colours to those of the theme
    return Drawing(figure, panels, document, pdf)


def fitted(figure: Figure, width: float) -> Figure:
    """Return a figure of exactly this width: with fewer panels in a row, which are as wide.

    >>> panel = Panel("", "", lambda axes: None, least=100.0)
    >>> figure = fitted(Figure("name", "", "", [panel] * 4), 214.0)
    >>> figure.columns, [each.width for each in figure.panels]
    (2, [100.0, 100.0, 100.0, 100.0])
    """
    natural = figure.title_width + max(panel.width for panel in figure.panels)
    titles = figure.title_width * width / natural
    room = width - titles + _GAP
    columns = int(room / (max(panel.least for panel in figure.panels) + _GAP))
    columns = 1 if titles else max(1, min(columns, len(figure.panels)))
    panels = [_of_width(panel, room / columns - _GAP) for panel in figure.panels]
    return replace(figure, panels=panels, columns=columns, title_width=titles)


def _of_width(panel: Panel, width: float) -> Panel:
    left, right, top, bottom = panel.margins
    factor = (width - left - right) / (panel.width - left - right) if panel.square else 1.0
    around = top + bottom
    return replace(panel, width=width, height=around + min(1.0, factor) * (panel.height - around))


def _as_svg(sheet: Sheet) -> str:
    text = StringIO()
    sheet.savefig(text, format="svg", metadata=_NO_DATE)
    return text.getvalue()


def as_pdf(sheet: Sheet, title: str) -> bytes:
    """Return a figure as PDF; without a date the same figure gives the same bytes."""
    content = BytesIO()
    sheet.savefig(content, format="pdf", metadata={"CreationDate": None, "Title": title})
    return content.getvalue()


def lay_out(figure: Figure) -> tuple[list[Box], float, float]:
    """Place panels in rows; return left, top, width and height of each, and the whole size."""
    columns = min(figure.columns, len(figure.panels))
    pitch = max(panel.width for panel in figure.panels) + _GAP
    gap = 0.0 if figure.title_width else _GAP
    boxes: list[Box] = []
    top = 0.0
    for first in range(0, len(figure.panels), columns):
        row = figure.panels[first : first + columns]
        if not figure.title_width and any(panel.title for panel in row):
            top += _TITLE
        for column, panel in enumerate(row):
            boxes.append((figure.title_width + column * pitch, top, panel.width, panel.height))
        top += max(panel.height for panel in row) + gap
    return boxes, figure.title_width + columns * pitch - _GAP, top - gap


def _draw(figure: Figure) -> tuple[Sheet, list[Box], tuple[float, float]]:
    """Draw all panels; return the sheet, their places, and width and height of the whole."""
    boxes, width, height = lay_out(figure)
    sheet = Sheet(figsize=(width / INCH, height / INCH))
    for number, (panel, (x, y, wide, high)) in enumerate(zip(figure.panels, boxes, strict=True)):
        left, right, top, bottom = panel.margins
        corner = (x + left) / width, 1 - (y + high - bottom) / height
        size = (wide - left - right) / width, (high - top - bottom) / height
        axes = sheet.add_axes((*corner, *size))
        axes.set_gid(f"{svg.PANEL}{number}")
        axes.patch.set_visible(False)
        panel.draw(axes)
        for artist in axes.get_children():
            artist.set_clip_on(False)
        room, at, ha, va = wide, (x, y - 6), "left", "baseline"
        if figure.title_width:
            room, at = figure.title_width - 20, (x - 10, y + high / 2 - 2)
            ha, va = "right", "center"
        if title := one_line(panel.title):
            text, place = shortened(title, room, NAME), (at[0] / width, 1 - at[1] / height)
            sheet.text(*place, text, size=NAME, color=LIGHT["ink"], ha=ha, va=va)
    return sheet, boxes, (width, height)
