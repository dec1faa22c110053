"""Capacity: which assignments stay when an expert is asked for too much."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._errors import bad_value, unknown

if TYPE_CHECKING:
    from ._routing import Routing


def _rank_in_item(routing: "Routing") -> Tensor:
    """Place of each assignment among those of its item, largest weight first, ``(A,)``."""
    order = _lexsort(-_mass(routing), routing.item)
    return _places(routing.item[order])[_inverse(order)]


def position(routing: "Routing", generator: torch.Generator) -> tuple[Tensor, ...]:
    """First come, first served: the only order that never looks at what a later item chose.

    The capacity itself follows the group's number of assignments, so this is causal for
    routers that give every item the same number of experts.
    """
    return (routing.item,)


def choice(routing: "Routing", generator: torch.Generator) -> tuple[Tensor, ...]:
    """All first choices by position, then all second choices (GShard, 2006.16668)."""
    return (routing.item, _rank_in_item(routing))


def probability(routing: "Routing", generator: torch.Generator) -> tuple[Tensor, ...]:
    """Each expert keeps the assignments with the largest weight."""
    return (routing.item, -_mass(routing))


def batch_priority(routing: "Routing", generator: torch.Generator) -> tuple[Tensor, ...]:
    """Choices in turn, items with the largest weight first (V-MoE, 2106.05974, section 4.1)."""
    mass = _mass(routing)
    largest = mass.new_full((routing.num_items,), -torch.inf)
    largest = largest.scatter_reduce(0, routing.item, mass, "amax")
    return (routing.item, -largest[routing.item], _rank_in_item(routing))


def random(routing: "Routing", generator: torch.Generator) -> tuple[Tensor, ...]:
    """A permutation."""
    shuffled = torch.randperm(routing.num_assignments, generator=generator)
    return (shuffled.to(routing.item.device),)


#: Sort keys, least significant first; lower stays longer.
DROP_ORDERS: dict[str, Callable[["Routing", torch.Generator], tuple[Tensor, ...]]] = {
    order.__name__: order for order in (position, choice, probability, batch_priority, random)
}


def check_limit(factor: float, order: str, key: str = "capacity") -> None:
    """Raise ``ConfigError`` for a capacity or a drop order that cannot be."""
    if not factor > 0:
        raise bad_value(key, factor, "a number above 0, or null for no limit")
    if order not in DROP_ORDERS:
        raise unknown("drop", order, DROP_ORDERS)


def keep_within(
    routing: "Routing", factor: float, order: str, generator: torch.Generator | None = None
) -> Tensor:
    """``(A,)`` bool: the assignments that fit each expert's capacity in their group."""
    check_limit(factor, order)
    generator = generator or torch.Generator().manual_seed(0)
    length = max(routing.num_items // routing.groups, 1)
    group = routing.item // length
    asked = torch.bincount(group, minlength=routing.groups).double()
    # a factor such as 1.1 is a little above itself in binary; do not let that add a place
    capacity = (factor * asked / routing.num_experts - 1e-9).ceil().long()
    bucket = group * routing.num_experts + routing.expert
    ranked = _lexsort(*DROP_ORDERS[order](routing, generator), bucket)
    place = _places(bucket[ranked])[_inverse(ranked)]
    return place < capacity[group]


def _mass(routing: "Routing") -> Tensor:
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
