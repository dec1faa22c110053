"""Every registered router keeps the contract, alone and with every gate."""

import inspect
from collections.abc import Callable

import routers
from routers import Router


def takes_a_gate(name: str) -> bool:
    kind = routers.routers[name]
    return kind.traits.learned and "gate" in inspect.signature(kind).parameters


def with_gate(name: str, gate: str) -> Callable[[int, int], Router]:
    def build(dim: int, num_experts: int) -> Router:
        return routers.build(name, dim, num_experts, gate=gate)

    build.__name__ = f"{name}+{gate}"
    return build


GATED = [
    with_gate(name, gate)
    for name in filter(takes_a_gate, routers.available())
    for gate in routers.gates
    if gate != routers.routers.options(name)["gate"]
]


@routers.parametrize_with_checks()
def test_every_router(router, check):
    check(router)


@routers.parametrize_with_checks(GATED)
def test_every_learned_router_with_every_gate(router, check):
    check(router)


def test_there_is_something_to_check():
    assert len(routers.available()) >= 9
    assert len(GATED) >= 18
