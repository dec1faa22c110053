"""The page: one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..results.formatting import printable
from .data import ReportData
from .figures.render import Drawing
from .figures.style import DARK, LIGHT, MARKERS, marker_path
from .formatting import compact, counted, fixed
from .sections.header import header
from .sections.section import Section


def render_page(data: ReportData, sections: Sequence[Section], drawings: Sequence[Drawing]) -> str:
    """Return the page with these sections from top to bottom; drawings are of their figures."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"compact": compact, "counted": counted, "fixed": fixed, "marker_id": MARKERS.index}
    environment.filters |= filters
    return environment.get_template("page.html.jinja").render(
        data=data,
        header=header(data),
        sections=sections,
        drawings={each.figure.name: each for each in drawings},
        markers={number: marker_path(marker, 10.0) for number, marker in enumerate(MARKERS)},
        light=LIGHT,
        dark=DARK,
    )
