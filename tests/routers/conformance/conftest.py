"""What the tests of the kit share."""

import pytest

from routers.conformance.harness import subjects


@pytest.fixture
def one_size(monkeypatch):
    """Checks run on one size of a router instead of two, in half the time."""
    monkeypatch.setattr("routers.conformance.suite.subjects", lambda build: subjects(build)[:1])
