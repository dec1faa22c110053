"""Sections of the page from top to bottom; each module makes its own from the data."""

from collections.abc import Callable, Sequence

from ..data import ReportData
from .experts import load_section, specialization_section
from .leaderboard import leaderboard_section
from .learning import gates_section, learning_section
from .notes import glossary_section, methods_section
from .search import search_section
from .section import Section
from .tradeoffs import tradeoff_section

#: Each makes a section, or None where a sweep has nothing for it.
SECTIONS: Sequence[Callable[[ReportData], Section | None]] = (
    leaderboard_section,
    tradeoff_section,
    learning_section,
    load_section,
    specialization_section,
    gates_section,
    search_section,
    methods_section,
    glossary_section,
)


def make_sections(data: ReportData) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in SECTIONS if (section := make(data)) is not None]
