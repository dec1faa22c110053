"""A figure drawn once by matplotlib: as panels for the page, as SVG file and as PDF file."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO

from matplotlib.figure import Figure as Sheet

from . import svg
from .figure import Figure, one_line
from .palette import LIGHT
from .style import NAME, figure_style
from .text import shortened

#: Left, top, width and height in points.
Box = tuple[float, float, float, float]

_GAP, _TITLE = 14.0, 18.0
_INCH = 72.0
_NO_DATE = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn.

    Attributes:
        figure: the figure.
        panels: an ``svg`` element for each panel, in the colours of the page's theme.
        svg, pdf: content of the files, in light colours.
    """

    figure: Figure
    panels: Sequence[str]
    svg: str
    pdf: bytes


def render(figure: Figure) -> Drawing:
    """Draw a figure; the same figure gives the same bytes."""
    boxes, width, height = lay_out(figure)
    with figure_style():
        sheet = _draw(figure, boxes, width, height)
        text = StringIO()
        sheet.savefig(text, format="svg", metadata=_NO_DATE)
        pdf = as_pdf(sheet, figure.title)
    root = svg.simplified(text.getvalue())
    document = svg.document(root, width, height, figure.title, figure.caption)
    words = [one_line(panel.alt) for panel in figure.panels]
    return Drawing(figure, svg.panels(root, boxes, words), document, pdf)


def as_pdf(sheet: Sheet, title: str) -> bytes:
    """Return a figure as PDF; without a date the same figure gives the same bytes."""
    content = BytesIO()
    sheet.savefig(content, format="pdf", metadata={"CreationDate": None, "Title": title})
    return content.getvalue()


def lay_out(figure: Figure) -> tuple[list[Box], float, float]:
    """TrialSpec panels in rows; return the box of each, and width and height of the whole."""
    columns = min(figure.columns, len(figure.panels))
    pitch = max(panel.width for panel in figure.panels) + _GAP
    boxes: list[Box] = []
    top = 0.0
    for first in range(0, len(figure.panels), columns):
        row = figure.panels[first : first + columns]
        if not figure.title_width and any(panel.title for panel in row):
            top += _TITLE
        for column, panel in enumerate(row):
            boxes.append((figure.title_width + column * pitch, top, panel.width, panel.height))
        top += max(panel.height for panel in row) + (0.0 if figure.title_width else _GAP)
    height = top - (0.0 if figure.title_width else _GAP)
    return boxes, figure.title_width + columns * pitch - _GAP, height


def _draw(figure: Figure, boxes: Sequence[Box], width: float, height: float) -> Sheet:
    sheet = Sheet(figsize=(width / _INCH, height / _INCH))
    for number, (panel, (x, y, wide, high)) in enumerate(zip(figure.panels, boxes, strict=True)):
        left, right, top, bottom = panel.margins
        axes = sheet.add_axes(
            (
                (x + left) / width,
                1 - (y + high - bottom) / height,
                (wide - left - right) / width,
                (high - top - bottom) / height,
            )
        )
        axes.set_gid(f"{svg.PANEL}{number}")
        axes.patch.set_visible(False)
        panel.draw(axes)
        for artist in axes.get_children():
            artist.set_clip_on(False)
        title = one_line(panel.title)
        if not title:
            continue
        if figure.title_width:
            text = shortened(title, figure.title_width - 20, NAME)
            at, align = (x - 10, y + high / 2 - 2), ("right", "center")
        else:
            text, at, align = shortened(title, wide, NAME), (x, y - 6), ("left", "baseline")
        sheet.text(
            at[0] / width,
            1 - at[1] / height,
            text,
            size=NAME,
            color=LIGHT["ink"],
            horizontalalignment=align[0],
            verticalalignment=align[1],
        )
    return sheet
