"""A section of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..figures.figure import Figure


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        figures: those in it, which are also written as files.
        notes: paragraphs below the figures.
        template: renders its content; by default figures and notes.
        context: values for the template.
    """

    name: str
    title: str
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    template: str = "figures"
    context: Mapping[str, Any] = field(default_factory=dict)
