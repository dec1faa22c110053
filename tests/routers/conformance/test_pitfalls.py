"""The known pitfalls of routing, each planted in a copy of a router or of a function it calls.

Each fault in ``faulty_routers/`` names the check that has to catch it: the check fails there, and
passes on the sound router. ``pytest -s`` prints all of them.
"""

import re

import pytest
from rich.console import Console
from rich.table import Table

from routers import CheckError
from routers.conformance.results import check_name
from routers.conformance.suite import CHECKS, _result

from .faulty_routers import memory
from .faulty_routers._all import PLANTS, TRAPS

CHECK = {check_name(check): check for check in CHECKS}


@pytest.fixture(autouse=True)
def forgets():
    yield
    memory.KEPT.clear()


@pytest.fixture(scope="module")
def record():
    """Rows of what was planted and what caught it; printed when all have been tried."""
    table = Table("trap", "", "planted", "on", "caught by", title="Traps, and what caught them")
    yield table
    Console(width=160).print(table)


def failure(planted, candidate):
    """What the check that has to catch the fault says against a router."""
    return _result(CHECK[planted.check], candidate, {}).failure


@pytest.mark.usefixtures("one_size")
@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.label)
def test_caught(planted, monkeypatch, record):
    sound = planted.sound()
    assert failure(planted, sound) is None
    found = failure(planted, planted.where(monkeypatch))
    assert isinstance(found, CheckError)
    assert re.search(planted.says, str(found), re.DOTALL)
    on = sound if isinstance(sound, str) else sound.__name__
    row = (planted.trap, TRAPS[planted.trap], planted.plant.__name__, on, planted.check)
    record.add_row(*map(str, row))


def test_all_traps_are_planted():
    assert {planted.trap for planted in PLANTS} == set(TRAPS) == set(range(1, 21))
