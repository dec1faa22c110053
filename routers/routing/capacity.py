"""Capacity: the most assignments an expert accepts, and which ones it drops."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ..plugins.errors import OptionError, unknown


class Assignments(Protocol):
    """The fields of a ``Routing`` that capacity depends on."""

    @property
    def item(self) -> Tensor: ...
    @property
    def expert(self) -> Tensor: ...
    @property
    def mass(self) -> Tensor: ...
    @property
    def num_items(self) -> int: ...
    @property
    def num_experts(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def mask(self) -> Tensor | None: ...
    @property
    def experts_per_item(self) -> float | None: ...
    @property
    def before(self) -> "Assignments | None": ...


# ---- drop orders ----


def position(routing: Assignments, generator: torch.Generator) -> tuple[Tensor, ...]:
    """First come, first served: the only order independent of later items.

    Source: Switch, 2101.03961.
    """
    return (routing.item,)


def choice(routing: Assignments, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All first choices by position, then all second choices (GShard, 2006.16668)."""
    return (routing.item, _rank_in_item(routing))


def probability(routing: Assignments, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Each expert keeps the assignments with the largest weight (Megatron-Core's ``probs``)."""
    return (routing.item, -routing.mass.detach())


def batch_priority(routing: Assignments, generator: torch.Generator) -> tuple[Tensor, ...]:
    """By choice, then items with the largest weight first (V-MoE, 2106.05974, section 4.1)."""
    mass = routing.mass.detach()
    largest = mass.new_full((routing.num_items,), -torch.inf)
    largest = largest.scatter_reduce(0, routing.item, mass, "amax")
    return (routing.item, -largest[routing.item], _rank_in_item(routing))


def random(routing: Assignments, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A random permutation, independent of position (DeepSpeed's random selection)."""
    shuffled = torch.randperm(len(routing.item), generator=generator)
    return (shuffled.to(routing.item.device),)


#: Sort keys, least significant first; assignments with lower keys stay longer.
DROP_ORDERS: dict[str, Callable[[Assignments, torch.Generator], tuple[Tensor, ...]]] = {
    order.__name__: order for order in (position, choice, probability, batch_priority, random)
}


# ---- rounding ----

#: A factor such as 1.1 is inexact in binary; this must not add or remove a place.
_SLACK = 1e-9


def _up(capacity: Tensor) -> Tensor:
    return (capacity - _SLACK).ceil()


def _down(capacity: Tensor) -> Tensor:
    return (capacity + _SLACK).floor()


def ceil(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``ceil(f K n / E)`` (Megatron-Core)."""
    return _up(factor * each * items / experts)


def floor(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``floor(f K n / E)`` (GShard and Mesh TensorFlow, except for their minimum capacity)."""
    return _down(factor * each * items / experts)


def nearest(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``f K n / E`` to the nearest, halves to even (Flaxformer)."""
    return (factor * each * items / experts).round()


def ceil_per_choice(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``K ceil(f n / E)``: each choice is rounded separately (fairseq)."""
    return _up(each * _up(factor * items / experts))


def floor_of_even(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``K floor(f ceil(n / E))``: of the even share, itself rounded up (Tutel)."""
    return _up(each * _down(factor * _up(items / experts)))


def ceil_to_4(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``f K n / E`` up to the next multiple of 4, for hardware tiles (V-MoE)."""
    return (ceil(factor, items, each, experts) / 4).ceil() * 4


def ceil_from_4(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``max(4, ceil(f K n / E))``, so that short groups lose less (DeepSpeed)."""
    return ceil(factor, items, each, experts).clamp_min(4)


def absolute(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``floor(f)``, however many items there are (the Switch layers of transformers)."""
    return _down(torch.full_like(items, factor))


#: How a capacity becomes an integer. Libraries differ: 10 items, 4 experts, 2 per item and a
#: factor of 1.25 give 6.25 places, which becomes 6, 7 or 8. Functions of the factor, the items
#: ``(A,)``, the experts per item ``(A,)`` and ``E``, all float64, return capacities ``(A,)``.
ROUNDINGS: dict[str, Callable[[float, Tensor, Tensor, int], Tensor]] = {
    rounding.__name__: rounding
    for rounding in (
        *(ceil, floor, nearest, ceil_per_choice, floor_of_even),
        *(ceil_to_4, ceil_from_4, absolute),
    )
}


# ---- the limit ----


def check_capacity_options(factor: float, order: str, rounding: str = "ceil") -> None:
    """Raise ``ConfigError`` for an invalid capacity, drop order or rounding."""
    if not 0 < factor < math.inf:
        raise OptionError("capacity", factor, "a finite number above 0, or null for no limit")
    if order not in DROP_ORDERS:
        raise unknown("drop", order, DROP_ORDERS)
    if rounding not in ROUNDINGS:
        raise unknown("rounding", rounding, ROUNDINGS)


def within_capacity(
    routing: Assignments,
    factor: float,
    order: str,
    generator: torch.Generator | None = None,
    rounding: str = "ceil",
) -> Tensor:
    """Select the assignments that fit each expert's capacity in their group, ``(A,)`` bool."""
    check_capacity_options(factor, order, rounding)
    generator = generator or torch.Generator().manual_seed(0)
    group = routing.item // max(routing.num_items // routing.groups, 1)
    real = _real(routing).sum(1).double()
    each = _experts_per_item(routing, order)
    capacity = ROUNDINGS[rounding](factor, real[group], each, routing.num_experts)
    bucket = group * routing.num_experts + routing.expert
    ranked = _lexsort(*DROP_ORDERS[order](routing, generator), bucket)
    return _rank_in_run(bucket[ranked])[_inverse(ranked)] < capacity.clamp_min(1).long()


def _real(routing: Assignments) -> Tensor:
    """``(G, L)`` bool, True for items that are not padding."""
    shape = (routing.groups, routing.num_items // routing.groups)
    if routing.mask is None:
        return torch.ones(shape, dtype=torch.bool, device=routing.item.device)
    return routing.mask.view(shape)


def _experts_per_item(routing: Assignments, order: str) -> Tensor:
    """Experts per item that the capacity allows for, ``(A,)`` float64.

    The routing's target, if any; else the mean over the group, before drops, so that the same
    limit drops nothing more. In the order ``position`` the mean over the items so far: a mean over
    later items would let them affect earlier drops.
    """
    if routing.experts_per_item is not None:
        return torch.full_like(routing.item, routing.experts_per_item, dtype=torch.float64)
    real = _real(routing).long()
    asked = routing if routing.before is None else routing.before
    count = torch.bincount(asked.item, minlength=routing.num_items).view(real.shape)
    if order == position.__name__:
        mean = count.cumsum(1).double() / real.cumsum(1).clamp_min(1)
    else:
        mean = count.sum(1, keepdim=True).double() / real.sum(1, keepdim=True).clamp_min(1)
    return mean.expand(real.shape).flatten()[routing.item]


def _rank_in_item(routing: Assignments) -> Tensor:
    """Rank of each assignment among those of its item, largest weight first, ``(A,)``."""
    order = _lexsort(-routing.mass.detach(), routing.item)
    return _rank_in_run(routing.item[order])[_inverse(order)]


def _lexsort(*keys: Tensor) -> Tensor:
    """The permutation that sorts by the last key, ties by the one before, and so on."""
    order = keys[0].argsort(stable=True)
    for key in keys[1:]:
        order = order[key[order].argsort(stable=True)]
    return order


def _rank_in_run(sorted_values: Tensor) -> Tensor:
    """0, 1, 2 … within each run of equal values."""
    index = torch.arange(sorted_values.numel(), device=sorted_values.device)
    start = torch.ones_like(sorted_values, dtype=torch.bool)
    start[1:] = sorted_values[1:] != sorted_values[:-1]
    return index - torch.where(start, index, 0).cummax(0).values


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(order.numel(), device=order.device)
    return inverse
