"""The page: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..results.formatting import printable
from .figures.render import Drawing
from .figures.style import DARK, LIGHT, MARKERS, ArmStyle, marker_path
from .formatting import compact, counted, fixed
from .sections.section import Section


class PageData(Protocol):
    """Data of a page: the style of each arm by label, and what its templates read."""

    @property
    def styles(self) -> Mapping[str, ArmStyle]: ...


def render_page(
    data: PageData, header: Section, sections: Sequence[Section], drawings: Sequence[Drawing]
) -> str:
    """Return the page with a header and sections from top to bottom; drawings are of these."""
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
        header=header,
        sections=sections,
        drawings={each.figure.name: each for each in drawings},
        markers={number: marker_path(marker, 10.0) for number, marker in enumerate(MARKERS)},
        light=LIGHT,
        dark=DARK,
    )
