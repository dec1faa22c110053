"""Errors name the invalid option, and only options that the router has."""

import math
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.plugins import fits_hint

#: Values of all types, most of them invalid.
TRIED = [
    -1, 0, 1, 2, 3, 7, 99, -0.5, 0.0, 0.5, 1.0, 1.5, 1e9, math.inf, math.nan, "", "nope", [],
    [0], [99], [[]], [[99]], [[0, 0]], {"kk": 1}, {"k": 99}, {"k": 1}, {"name": "nope"}, None,
]  # fmt: skip
X = torch.zeros(3, 4)


def refusals(name: str, num_experts: int) -> Iterator[tuple[str, str]]:
    """Options of a router with what it says to values of theirs that it does not take."""
    kind = routers.ROUTERS[name]
    hints = get_type_hints(kind.__init__)
    for option in routers.ROUTERS.options(name):
        for value in TRIED:
            if fits_hint(value, hints[option]):  # what is of another type never gets this far
                message = refusal(name, num_experts, {option: value})
                if message:
                    yield option, message


def refusal(
    name: str, num_experts: int, options: dict[str, Any], items: Items | None = None
) -> str:
    """What is said to options, or to items; nothing where nothing is wrong."""
    try:
        router = routers.build(name, 4, num_experts, **options)
        if items is not None:
            router(items)
    except ConfigError as error:
        return str(error)
    return ""


def options_named(message: str) -> set[str]:
    """``k`` of ``router.k``, but no method such as ``router.prepare(…)``."""
    return set(re.findall(r"\brouter\.(\w+)\b(?!\()", message))


@pytest.mark.parametrize("name", routers.available())
def test_what_is_refused_is_named_and_nothing_that_is_not_there(name):
    allowed = set(routers.ROUTERS.options(name))
    found = list(refusals(name, 8))
    assert found or not allowed - {"gate"}, "it accepts any value"
    for option, message in found:
        assert re.search(rf"\b{option}\b", message), f"{option} is not named: {message}"
        assert options_named(message) <= allowed, f"there are no such options: {message}"
        hint = get_type_hints(routers.ROUTERS[name].__init__)[option]
        assert "or null" not in message or fits_hint(None, hint), f"null is invalid: {message}"


@pytest.mark.parametrize("name", routers.available())
def test_too_few_experts_are_told_of_nothing_that_is_not_there(name):
    for number in (0, 1, 2, 3, 7):
        message = refusal(name, number, {})
        assert options_named(message) <= set(routers.ROUTERS.options(name)), message


@pytest.mark.parametrize("name", routers.available())
def test_items_that_lack_something_are_told_of_nothing_that_is_not_there(name):
    task = torch.tensor([0, -1, 10**6])
    for items in (Items(X), Items(X, ids=task.abs(), task=task)):
        message = refusal(name, 8, {}, items)
        assert options_named(message) <= set(routers.ROUTERS.options(name)), message


def test_a_frozen_routers_own_options_are_named_as_they_are_given():
    for options, said in [
        ({"of": "tpok"}, "router.of=tpok: unknown; did you mean 'topk'?"),
        ({"of": "topk", "options": {"kk": 3}}, "router.options.kk: unknown; did you mean 'k'?"),
        (
            {"of": "topk", "options": {"k": 9}},
            "router.options.k=9 is invalid: expected an integer in [1, num",
        ),
        ({"of": "topk", "options": {"k": 1}}, "use weighting=probability"),
        ({"of": "topk", "options": {"gate": "lin"}}, "router.options.gate=lin: unknown"),
    ]:
        assert said in refusal("frozen", 8, options)
