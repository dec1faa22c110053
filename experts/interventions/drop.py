"""Assignments left out, and all other weights unchanged."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import singledispatch

import torch
from torch import Tensor

from routers import ConfigError, Items, Routing
from routers.routing import Defaults, Merge, Slots

from ._base import INTERVENTIONS, Change, Intervention, intervene


@INTERVENTIONS.register("drop")
class Drop(Intervention):
    """The expert is left out: its items get the outputs of their other experts alone."""

    def apply(self, target: int | None) -> AbstractContextManager[None]:
        assert target is not None
        return intervene(self.layer, drop_experts([target]))


def drop_experts(experts: Sequence[int]) -> Change:
    """The change of a routing that leaves out some experts for all items."""

    def change(items: Items, routing: Routing) -> Routing:
        out = torch.zeros(routing.num_experts, dtype=torch.bool, device=routing.expert.device)
        out[list(experts)] = True
        return leave_out(routing, out.expand(routing.num_items, -1))

    return change


def leave_out(routing: Routing, pairs: Tensor) -> Routing:
    """A routing without the contributions of some experts to some items; other weights stay.

    Slots that an expert works on stay as they are and are left out of the items' outputs; of
    merged experts the parameters are left out of the sum.

    Args:
        routing: of ``N`` items to ``E`` experts.
        pairs: ``(N, E)`` bool, True for what is left out.

    Raises:
        ConfigError: if merged experts are to be left out for some items of a part alone.

    >>> items = Items(torch.zeros(2, 1))
    >>> routing = Routing.by_mask(items, torch.full((2, 3), 0.5))
    >>> leave_out(routing, torch.tensor([[True, False, False], [False, True, True]])).load.tolist()
    [1, 1, 1]
    """
    return _without(routing.execution, routing, pairs)


@singledispatch
def _without(execution: object, routing: Routing, pairs: Tensor) -> Routing:
    return routing.drop(~pairs[routing.item, routing.expert])


@_without.register
def _without_defaults(execution: Defaults, routing: Routing, pairs: Tensor) -> Routing:
    """Neither its output nor its mean output."""
    left = routing.drop(~pairs[routing.item, routing.expert])
    return replace(left, given_probs=routing.probs.masked_fill(pairs, 0.0))


@_without.register
def _without_slots(execution: Slots, routing: Routing, pairs: Tensor) -> Routing:
    combine = execution.combine
    groups, length, slots = combine.shape[-3:]
    experts = pairs.shape[1]
    out = pairs.reshape(groups, length, experts).repeat_interleave(slots // experts, 2)
    return replace(routing, execution=replace(execution, combine=combine.masked_fill(out, 0.0)))


@_without.register
def _without_merged(execution: Merge, routing: Routing, pairs: Tensor) -> Routing:
    weight = execution.weight
    of_part = pairs.reshape(weight.shape[-2], -1, weight.shape[-1])
    real = torch.ones_like(of_part[..., 0]) if routing.mask is None else routing.mask
    real = real.view(of_part.shape[:2])
    first = real.int().argmax(1)  # of the real items of each part
    out = of_part[torch.arange(len(of_part), device=first.device), first]
    if ((of_part != out.unsqueeze(1)).any(-1) & real).any():
        raise ConfigError(
            "merged experts work on all items of a part, so they cannot be left out for some of "
            "these; leave them out for all items"
        )
    merged = replace(execution, weight=weight.masked_fill(out, 0.0))
    gone = pairs[routing.item, routing.expert]
    gone = gone.reshape(-1, *[1] * (routing.weight.dim() - 1))
    return replace(routing, weight=routing.weight.masked_fill(gone, 0.0), execution=merged)
