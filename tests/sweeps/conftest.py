"""A server for the tests of a file, and sweeps without a report."""

import pytest

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
    """Leave out tables and report, which take longer than a tiny sweep."""
    monkeypatch.setattr("sweeps.stages.cli._write_results", lambda *_: None)
