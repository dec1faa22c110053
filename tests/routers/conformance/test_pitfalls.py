"""The known pitfalls of routing, each planted in a copy of a router or of a function it calls.

Each fault in ``faulty_routers/`` names the check that has to catch it. The whole kit runs on every
faulty router; the checks that fail there, and not on the sound router, have caught the fault.
``pytest -s`` prints them.
"""

import re
from functools import cache

import pytest
from rich.console import Console
from rich.table import Table

from routers import CheckError
from routers.conformance.harness import subjects
from routers.conformance.suite import Candidate, run_checks

from .faulty_routers import memory
from .faulty_routers._all import PLANTS, TRAPS


@pytest.fixture(autouse=True)
def forgets():
    yield
    memory.KEPT.clear()


@pytest.fixture(autouse=True)
def one_size(monkeypatch):
    """Enough to see every trap, in half the time."""
    monkeypatch.setattr("routers.conformance.suite.subjects", lambda build: subjects(build)[:1])


@pytest.fixture(scope="module")
def record():
    """Rows of what was planted and what caught it; printed when all have been tried."""
    table = Table("trap", "", "planted", "on", "caught by", title="Traps, and what caught them")
    yield table
    Console(width=160).print(table)


def failures(candidate: Candidate) -> dict[str, CheckError]:
    """What the kit says against a router, by check."""
    return {v.check: v.failure for v in run_checks(candidate) if v.failure}


@cache
def known(candidate: Candidate) -> frozenset[str]:
    """What the kit says where nothing is planted: copies have no docstring."""
    return frozenset(failures(candidate)) | {"docstring"}


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.label)
def test_caught(planted, monkeypatch, record):
    sound = planted.sound()
    assert known(sound) == {"docstring"}
    found = failures(planted.where(monkeypatch))
    caught = [check for check in found if check not in known(sound)]
    on = sound if isinstance(sound, str) else sound.__name__
    row = (planted.trap, TRAPS[planted.trap], planted.plant.__name__, on, ", ".join(caught))
    record.add_row(*map(str, row))
    assert planted.check in caught
    assert re.search(planted.says, str(found[planted.check]), re.DOTALL)


def test_all_traps_are_planted():
    assert {planted.trap for planted in PLANTS} == set(TRAPS) == set(range(1, 18))
