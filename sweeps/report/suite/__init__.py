"""The report of a suite: what it shows, and its sections."""

from .data import SuiteData, collect_suite
from .sections import make_suite_sections, suite_header

__all__ = ["SuiteData", "collect_suite", "make_suite_sections", "suite_header"]
