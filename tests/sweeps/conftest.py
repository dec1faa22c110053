"""Servers, one of each for the tests of a file."""

import pytest

from .servers import postgres, postgres_programs, proxy


@pytest.fixture(scope="module")
def database():
    """The URL of a PostgreSQL database."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres(programs) as url:
        yield url


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """The URL of the database behind the proxy."""
    return f"sqlite:///{tmp_path_factory.mktemp('behind') / 'study.db'}"


@pytest.fixture(scope="module")
def proxied(behind):
    """The URL of a proxy."""
    with proxy(behind) as url:
        yield url
