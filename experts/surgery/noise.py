"""Noise on single experts and on their entries in a router."""

from collections.abc import Sequence
from functools import singledispatch

import torch
from torch import Tensor, nn

from routers import Router

from .._bank import Bank
from ..layers.multi_gate import Gates
from .router_state import router_state


@torch.no_grad()
def perturb_experts(
    bank: Bank, experts: Sequence[int], noise: float, generator: torch.Generator
) -> None:
    """Add normal noise to the parameters of some experts, in place.

    Its standard deviation is ``noise`` times that of each parameter of the expert.
    """
    for expert in experts:
        for values in bank.parameters_of(expert):
            values += noise * values.std(correction=0) * _normal(values, generator)


@torch.no_grad()
def router_noise(
    router: Router, experts: Sequence[int], noise: float, generator: torch.Generator
) -> list[tuple[nn.Parameter, int, Tensor, Tensor]]:
    """Noise for the parameters of a router that belong to some experts.

    A list of parameter, axis, entries and values to add; ``values[entries[i]]`` is independent
    of all others. Its standard deviation is ``noise`` times that of the parameter. The list is
    empty for a router that learns nothing about single experts.
    """
    return [
        (parameter, axis, entries, noise * parameter.std(correction=0) * _normal(own, generator))
        for parameter, axis, entries in router_entries(router, experts)
        for own in [parameter.index_select(axis, entries)]
    ]


@singledispatch
def router_entries(
    router: Router, experts: Sequence[int]
) -> list[tuple[nn.Parameter, int, Tensor]]:
    """Parameters of a router with their axes and entries that belong to some experts."""
    if router.take_experts(range(router.num_experts)) is not None or not experts:
        return []
    parameters = dict(router.named_parameters())
    selections = router_state(router).selections(experts)
    return [
        (parameters[name], axis, torch.tensor(entries, device=parameters[name].device))
        for name, (axis, entries) in selections.items()
        if name in parameters
    ]


@router_entries.register
def _gate_entries(gates: Gates, experts: Sequence[int]) -> list[tuple[nn.Parameter, int, Tensor]]:
    found = list[tuple[nn.Parameter, int, Tensor]]()
    for gate, branch in zip(gates.gates, gates.topology.branches, strict=True):
        own = [branch.experts.index(expert) for expert in experts if expert in branch.experts]
        assert isinstance(gate, Router)
        found += router_entries(gate, own)
    return found


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    return drawn.to(like.device, like.dtype)
