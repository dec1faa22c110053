"""A server for the tests of a file, and sweeps without a report."""

import pytest

from .pages import leave_out_reports
from .servers import postgres, postgres_programs


@pytest.fixture(scope="module")
def database():
    """The URL of a PostgreSQL database."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres(programs) as url:
        yield url


@pytest.fixture
def no_report(monkeypatch):
    """Leave out tables, report and power, which take longer than a tiny sweep."""
    leave_out_reports(monkeypatch)
    detectable = "sweeps.results.suite_comparison.smallest_detectable_difference"
    monkeypatch.setattr(detectable, lambda pilot, plan: plan.most + 0.8)
