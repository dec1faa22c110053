"""The page: one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

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
    """Return the page with these sections from top to bottom; drawings are of their figures."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"compact": compact, "counted": counted, "fixed": fixed, "marker_id": MARKERS.index}
    environment.filters |= filters
    return environment.get_template("page.html.jinja").render(
        data=data,
        header=header(data),
        sections=sections,
        # the panels were written by matplotlib and are not to be escaped
        drawings={
            each.figure.name: {"figure": each.figure, "panels": [Markup(p) for p in each.panels]}
            for each in drawings
        },
        markers={number: marker_path(marker, 10.0) for number, marker in enumerate(MARKERS)},
        css=Markup(_themes() + _read("page.css")),
        script=Markup(_read("page.js")),
    )


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
