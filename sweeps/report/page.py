"""The page: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .data import ReportData
from .figures.render import Drawing, printable
from .figures.style import DARK, LIGHT, MARKERS, css_variables, marker_path
from .formatting import compact, counted, fixed
from .sections.header import header
from .sections.section import Section

_FOLDER = Path(__file__).parent


def render_page(data: ReportData, sections: Sequence[Section], drawings: Sequence[Drawing]) -> str:
    """Return the page.

    Args:
        data: of the sweep.
        sections: from top to bottom.
        drawings: of the figures of all sections.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "compact": compact,
        "counted": counted,
        "fixed": fixed,
        "marker_id": MARKERS.index,
    }
    return environment.get_template("page.html.jinja").render(
        data=data,
        header=header(data),
        sections=sections,
        drawings={each.figure.name: _trusted(each) for each in drawings},
        markers={number: marker_path(marker, 10.0) for number, marker in enumerate(MARKERS)},
        css=Markup(_themes() + _read("page.css")),
        script=Markup(_read("page.js")),
    )


def _trusted(drawing: Drawing) -> Mapping[str, Any]:
    """Return a figure with the panels that matplotlib wrote, which are not to be escaped."""
    return {"figure": drawing.figure, "panels": [Markup(panel) for panel in drawing.panels]}


def _finalize(value: object) -> object:
    return printable(value) if type(value) is str else value


def _themes() -> str:
    light, dark = css_variables(LIGHT), css_variables(DARK)
    return (
        f":root{{color-scheme:light;{light}}}\n"
        "@media screen and (prefers-color-scheme:dark)"
        f"{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
