"""Figures as files of their own: SVG, and PDF where matplotlib is installed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .html import tag
from .inks import as_light
from .marks import Area, Boxes, Dot, Figure, Line, Mark, Panel, Text
from .pdf import write_pdf
from .svg import marks_as_svg
from .widths import shortened

_GAP, _TITLE = 14.0, 18.0


def write_figures(folder: Path, figures: Sequence[Figure]) -> list[Path]:
    """Write each figure in light colours; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures:
        sheet = one_sheet(figure)
        path = folder / f"{figure.name}.svg"
        path.write_text(_document(sheet), encoding="utf-8")
        written.append(path)
        written += write_pdf(path.with_suffix(".pdf"), sheet)
    return written


def one_sheet(figure: Figure) -> Panel:
    """All panels of a figure in one, in rows, with their titles above them."""
    columns = min(figure.columns, len(figure.panels))
    wide = max(panel.width for panel in figure.panels) + _GAP
    marks: list[Mark] = []
    top = 0.0
    for first in range(0, len(figure.panels), columns):
        row = figure.panels[first : first + columns]
        titled = _TITLE if any(panel.title for panel in row) else 0.0
        for column, panel in enumerate(row):
            left = column * wide
            if panel.title:
                title = shortened(panel.title, panel.width, 12)
                marks.append(Text(left, top + 12, title, ink="ink", size=12, bold=True))
            marks += [moved(mark, left, top + titled) for mark in panel.marks]
        top += titled + max(panel.height for panel in row) + _GAP
    return Panel(columns * wide - _GAP, top - _GAP, figure.title, figure.caption, marks)


def moved(mark: Mark, dx: float, dy: float) -> Mark:
    """The mark elsewhere."""
    if isinstance(mark, Line | Area):
        return replace(mark, points=[(x + dx, y + dy) for x, y in mark.points])
    if isinstance(mark, Boxes):
        return replace(mark, boxes=[(x + dx, y + dy, w, h) for x, y, w, h in mark.boxes])
    assert isinstance(mark, Dot | Text)
    return replace(mark, x=mark.x + dx, y=mark.y + dy)


def _document(sheet: Panel) -> str:
    width, height = round(sheet.width, 1), round(sheet.height, 1)
    return tag(
        "svg",
        tag("title", sheet.title),
        tag("desc", sheet.alt),
        *marks_as_svg(sheet.marks, as_light),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=f"{width}",
        height=f"{height}",
        font_family="Helvetica, Arial, Liberation Sans, sans-serif",
    )
