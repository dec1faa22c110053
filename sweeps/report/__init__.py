"""The report of a sweep or a suite: an HTML page that needs nothing else, and figures as files."""

from .build import REPORT, write_pages, write_report, write_suite_pages

__all__ = ["REPORT", "write_pages", "write_report", "write_suite_pages"]
