"""A strategy file holds one idea: at most 150 lines."""

import inspect

import pytest

import routers

MAX_LINES = 150
OURS = [n for n in routers.available() if routers.ROUTERS[n].__module__.startswith("routers.")]


@pytest.mark.parametrize("name", OURS)
def test_a_strategy_file_is_short(name):
    path = inspect.getfile(routers.ROUTERS[name])
    with open(path, encoding="utf-8") as file:
        lines = sum(1 for _ in file)
    assert lines <= MAX_LINES, f"{path} has {lines} lines: move reusable parts to a room"
