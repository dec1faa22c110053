"""Every registered router keeps the contract, alone and with another gate."""

import inspect
from collections.abc import Callable

import pytest
import torch

import routers
from routers import Router, check_router
from routers.conformance.checks import gradients, scores, traits
from routers.conformance.results import checks_in, raise_failures
from routers.conformance.suite import SCORE_CHECKS, results_of

from ...router_samples import layout, one_of_each


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

#: One router of each layout.
KINDS = one_of_each(layout, takes_a_gate)

#: Checks of what a gate may change in any router: which items are read, gradients and scores.
BY_GATE = [check for check in SCORE_CHECKS if check in checks_in(traits, gradients, scores)]


@pytest.mark.usefixtures("sizes_in_turn")
@pytest.mark.parametrize("router", routers.available())
def test_every_router(router):
    """The checks draw, and leave the caller's random numbers as they are."""
    before = torch.get_rng_state()
    check_router(router)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("sizes_in_turn")
@pytest.mark.parametrize("build", GATED, ids=lambda build: build.__name__)
def test_every_learned_router_with_another_gate(build):
    """What does not read scores is the same for any gate, and not checked again.

    Shapes and padding are checked for one router of each layout.
    """
    wanted = SCORE_CHECKS if build.__name__.split("+")[0] in KINDS else BY_GATE
    found = results_of(wanted, build, {})
    raise_failures(build.__name__, found, len(found))


def test_there_is_something_to_check():
    assert len(routers.available()) >= 28
    assert len(GATED) >= 20
    assert len(SCORE_CHECKS) >= 25
    assert len(BY_GATE) >= 15
