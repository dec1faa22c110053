"""Capacity: which assignments stay when an expert is asked for too much."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..plugins.errors import OptionError, unknown
from .assignments import Graph
from .rounding import check_rounding, places


def _rank_in_item(routing: Graph) -> Tensor:
    """Place of each assignment among those of its item, largest weight first, ``(A,)``."""
    order = _lexsort(-_mass(routing), routing.item)
    return _places(routing.item[order])[_inverse(order)]


def position(routing: Graph, generator: torch.Generator) -> tuple[Tensor, ...]:
    """First come, first served: the only order that never looks at what a later item chose.

    As in Switch, 2101.03961.
    """
    return (routing.item,)


def choice(routing: Graph, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All first choices by position, then all second choices (GShard, 2006.16668)."""
    return (routing.item, _rank_in_item(routing))


def probability(routing: Graph, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Each expert keeps the assignments with the largest weight (Megatron-Core's ``probs``)."""
    return (routing.item, -_mass(routing))


def batch_priority(routing: Graph, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Choices in turn, items with the largest weight first (V-MoE, 2106.05974, section 4.1)."""
    mass = _mass(routing)
    largest = mass.new_full((routing.num_items,), -torch.inf)
    largest = largest.scatter_reduce(0, routing.item, mass, "amax")
    return (routing.item, -largest[routing.item], _rank_in_item(routing))


def random(routing: Graph, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A permutation, so that no place in the group is favoured (DeepSpeed's random selection)."""
    shuffled = torch.randperm(routing.num_assignments, generator=generator)
    return (shuffled.to(routing.item.device),)


#: Sort keys, least significant first; lower stays longer.
DROP_ORDERS: dict[str, Callable[[Graph, torch.Generator], tuple[Tensor, ...]]] = {
    order.__name__: order for order in (position, choice, probability, batch_priority, random)
}


def check_capacity_options(factor: float, order: str, rounding: str = "ceil") -> None:
    """Raise ``ConfigError`` for a capacity, a drop order or a rounding that cannot be."""
    if not 0 < factor < math.inf:
        raise OptionError("capacity", factor, "a finite number above 0, or null for no limit")
    if order not in DROP_ORDERS:
        raise unknown("drop", order, DROP_ORDERS)
    check_rounding(rounding)


def within_capacity(
    routing: Graph,
    factor: float,
    order: str,
    generator: torch.Generator | None = None,
    rounding: str = "ceil",
) -> Tensor:
    """``(A,)`` bool: the assignments that fit each expert's capacity in their group."""
    check_capacity_options(factor, order, rounding)
    generator = generator or torch.Generator().manual_seed(0)
    group = routing.item // max(routing.num_items // routing.groups, 1)
    real = _real(routing).sum(1).double()
    each = _experts_per_item(routing, order)
    capacity = places(rounding, factor, real[group], each, routing.num_experts)
    bucket = group * routing.num_experts + routing.expert
    ranked = _lexsort(*DROP_ORDERS[order](routing, generator), bucket)
    return _places(bucket[ranked])[_inverse(ranked)] < capacity


def _real(routing: Graph) -> Tensor:
    """``(G, L)`` bool, True for items that are not padding."""
    shape = (routing.groups, routing.num_items // routing.groups)
    if routing.mask is None:
        return torch.ones(shape, dtype=torch.bool, device=routing.item.device)
    return routing.mask.view(shape)


def _experts_per_item(routing: Graph, order: str) -> Tensor:
    """How many experts the capacity allows for per item, ``(A,)`` float64.

    The number that the routing is meant for, where it has one. Otherwise the mean over the
    group; or, in the order of positions, over the items so far, for a mean that knew how many
    experts later items ask for would let them decide who is dropped before them.
    """
    if routing.experts_per_item is not None:
        return torch.full_like(routing.item, routing.experts_per_item, dtype=torch.float64)
    asked = torch.bincount(routing.item, minlength=routing.num_items)
    real = _real(routing)
    mean = _MEANS.get(order, _over_group)(asked.view(real.shape), real.long())
    return mean.flatten()[routing.item]


def _over_group(asked: Tensor, real: Tensor) -> Tensor:
    mean = asked.sum(1, keepdim=True).double() / real.sum(1, keepdim=True).clamp_min(1)
    return mean.expand(asked.shape)


def _so_far(asked: Tensor, real: Tensor) -> Tensor:
    return asked.cumsum(1).double() / real.cumsum(1).clamp_min(1)


#: The orders that only know what came before; all others see the whole group anyway.
_MEANS = {position.__name__: _so_far}


def _mass(routing: Graph) -> Tensor:
    return routing.weight.detach().unsqueeze(-1).flatten(1).sum(1)


def _lexsort(*keys: Tensor) -> Tensor:
    """The permutation that sorts by the last key, ties by the one before, and so on."""
    order = keys[0].argsort(stable=True)
    for key in keys[1:]:
        order = order[key[order].argsort(stable=True)]
    return order


def _places(sorted_bucket: Tensor) -> Tensor:
    """0, 1, 2 … within each run of equal values."""
    index = torch.arange(sorted_bucket.numel(), device=sorted_bucket.device)
    start = torch.ones_like(sorted_bucket, dtype=torch.bool)
    start[1:] = sorted_bucket[1:] != sorted_bucket[:-1]
    return index - torch.where(start, index, 0).cummax(0).values


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(order.numel(), device=order.device)
    return inverse
