"""A section of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..figures.render import Figure


@dataclass(frozen=True)
class Section:
    """A section of the page: by default figures and notes, else a template with its context.

    ``name`` is its anchor; its figures are also written as files. The header is a section, too.
    """

    name: str
    title: str
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    template: str = "sections/figures"
    context: Mapping[str, Any] = field(default_factory=dict)


def section_of(
    name: str, title: str, figures: Sequence[Figure | None], notes: Sequence[str] = ()
) -> Section | None:
    """Return a section of the figures that have something to show; None without any."""
    shown = [figure for figure in figures if figure is not None]
    return Section(name, title, shown, notes) if shown else None
