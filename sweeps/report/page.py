"""The page: parts from top to bottom, in one file that needs nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template

from .board import board_section
from .experts_part import load_section, who_section
from .html import join, tag
from .inks import DARK, LIGHT, declarations
from .learning import gates_section, learning_section
from .material import Material
from .notes import glossary_section, methods_section
from .search_part import search_section
from .section import Section
from .top import headline, top
from .tradeoffs import tradeoff_section

#: Each makes a part of the page, or None where a sweep has nothing for it.
SECTIONS: Sequence[Callable[[Material], Section | None]] = (
    board_section,
    tradeoff_section,
    learning_section,
    load_section,
    who_section,
    gates_section,
    search_section,
    methods_section,
    glossary_section,
)


def sections(material: Material) -> list[Section]:
    """The parts that this sweep has something for."""
    return [part for make in SECTIONS if (part := make(material)) is not None]


def page(material: Material, parts: Sequence[Section]) -> str:
    """The whole page, with its parts below the answer."""
    links = [tag("li", tag("a", part.title, href=f"#{part.name}")) for part in parts]
    contents = tag("nav", tag("ul", *links), class_="toc", aria_label="Contents")
    body = join(
        tag("header", top(material), contents, class_="page"),
        tag("main", *(part.html() for part in parts)),
    )
    return Template(_asset("page.html")).substitute(
        title=join(headline(material)), css=_css(), js=_asset("page.js"), body=body
    )


def _css() -> str:
    light, dark = declarations(LIGHT), declarations(DARK)
    themes = (
        f":root{{color-scheme:light;{light}}}\n"
        "@media screen and (prefers-color-scheme:dark)"
        f"{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )
    return themes + _asset("page.css")


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
