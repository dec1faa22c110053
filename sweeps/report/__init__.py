"""The report of a sweep: one HTML page that needs nothing else, and its figures as files."""

from .build import REPORT, write_report

__all__ = ["REPORT", "write_report"]
