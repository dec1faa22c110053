"""Sections of the page from top to bottom; each module makes its own from the data."""

from collections.abc import Callable, Sequence

from ..data import ReportData
from .leaderboard import leaderboard_section, methods_section
from .search import search_section
from .section import Section
from .tradeoffs import tradeoff_section
from .training import (
    gates_section,
    learning_section,
    load_section,
    routes_section,
    specialization_section,
)

#: Each makes a section, or None where a sweep has nothing for it.
SECTIONS: Sequence[Callable[[ReportData], Section | None]] = (
    leaderboard_section,
    tradeoff_section,
    learning_section,
    load_section,
    specialization_section,
    routes_section,
    gates_section,
    search_section,
    methods_section,
    lambda _: Section("glossary", "Glossary", template="sections/glossary"),
)


def make_sections(data: ReportData) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in SECTIONS if (section := make(data)) is not None]
