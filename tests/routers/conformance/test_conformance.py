"""Every registered router keeps the contract, alone and with another gate."""

import inspect
from collections.abc import Callable

import pytest

import routers
from routers import Router, check_router
from routers.conformance.results import raise_failures
from routers.conformance.suite import SCORE_CHECKS, results_of


def takes_a_gate(router: str) -> bool:
    kind = routers.ROUTERS[router]
    return kind.traits.learned and "gate" in inspect.signature(kind).parameters


def with_gate(router: str, gate: str) -> Callable[[int, int], Router]:
    def build(dim: int, num_experts: int) -> Router:
        return routers.build(router, dim, num_experts, gate=gate)

    build.__name__ = f"{router}+{gate}"
    return build


def other_gates(router: str) -> list[str]:
    return [gate for gate in routers.GATES if gate != routers.ROUTERS.options(router)["gate"]]


#: Each learned router with one of the gates that are not its default, in turn.
GATED = [
    with_gate(router, other_gates(router)[number % len(other_gates(router))])
    for number, router in enumerate(filter(takes_a_gate, routers.available()))
]


@pytest.mark.usefixtures("sizes_in_turn")
@pytest.mark.parametrize("router", routers.available())
def test_every_router(router):
    check_router(router)


@pytest.mark.usefixtures("sizes_in_turn")
@pytest.mark.parametrize("build", GATED, ids=lambda build: build.__name__)
def test_every_learned_router_with_another_gate(build):
    """What does not read scores is the same for any gate, and not checked again."""
    found = results_of(SCORE_CHECKS, build, {})
    raise_failures(build.__name__, found, len(found))


def test_there_is_something_to_check():
    assert len(routers.available()) >= 28
    assert len(GATED) >= 20
    assert len(SCORE_CHECKS) >= 25
