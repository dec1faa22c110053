"""Every registered router keeps the contract, alone and with another gate."""

import inspect
from collections.abc import Callable

import pytest

import routers
from routers import Router
from routers.conformance.results import check_name
from routers.conformance.suite import CHECKS, _run


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

WITHOUT_SCORES = {
    "copy_and_pickle",
    "idle_experts",
    "losses_are_independent",
    "nothing_kept",
    "options_learn",
    "work_is_bounded",
}
ABOUT_SCORES = [
    check
    for check in CHECKS
    if check.__module__.rpartition(".")[2]
    in {"gradients", "padding", "scores", "shapes", "state", "traits"}
    and check_name(check) not in WITHOUT_SCORES
]


@routers.parametrize_with_checks()
def test_every_router(router, check):
    check(router)


@pytest.mark.usefixtures("one_size")
@pytest.mark.parametrize("build", GATED, ids=lambda build: build.__name__)
def test_every_learned_router_with_another_gate(build):
    """What does not read scores is the same for any gate, and not checked again."""
    for check in ABOUT_SCORES:
        _run(check, build)


def test_there_is_something_to_check():
    assert len(routers.available()) >= 28
    assert len(GATED) >= 20
    assert len(ABOUT_SCORES) >= 30
