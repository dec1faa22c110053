"""What the tests of the kit share."""

from itertools import count

import pytest

from routers.conformance.harness import subjects


@pytest.fixture
def one_size(monkeypatch):
    """Checks run on the first of two sizes of a router, in half the time."""
    monkeypatch.setattr("routers.conformance.suite.subjects", lambda build: subjects(build)[:1])


@pytest.fixture
def sizes_in_turn(monkeypatch):
    """Each check runs on one of two sizes of a router, the next one on the other."""
    turn = count()

    def one_of(build):
        found = subjects(build)
        return [found[next(turn) % len(found)]]

    monkeypatch.setattr("routers.conformance.suite.subjects", one_of)
