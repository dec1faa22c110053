"""Execution through slots: items to slots, slots through their experts, slots to items."""

from collections.abc import Sequence
from math import prod

from torch import Tensor

from routers import Routing
from routers.routing import Slots

from .._bank import Bank
from .mix import execute, execution_flops


@execute.register
def _through_slots(
    slots: Slots, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    groups, experts = slots.dispatch.shape[0], routing.num_experts
    if mask is None:
        out = bank(_swap(to_slots(x, slots), groups, experts), routing.load)
        return to_items(_swap(out, experts, groups), slots).to(x.dtype)
    real = mask.unsqueeze(-1)
    rows = to_slots(x.masked_fill(~real, 0.0), slots)
    of_group = mask.view(groups, -1, mask.shape[1]).any(1)  # the positions that any item has
    row_mask = of_group.repeat_interleave(slots.dispatch.shape[2], 0)
    out = bank(_swap(rows, groups, experts), routing.load, _swap(row_mask, groups, experts))
    out = to_items(_swap(out, experts, groups), slots)
    return out.to(x.dtype).masked_fill(~real, 0.0)


@execution_flops.register
def _slots_flops(slots: Slots, routing: Routing, bank: Bank, row_shape: Sequence[int]) -> int:
    """Two matrix products, items to slots and slots to items."""
    return 2 * (slots.dispatch.numel() + slots.combine.numel()) * prod(row_shape)


def to_slots(x: Tensor, slots: Slots) -> Tensor:
    """Items ``(N, ...)`` to slots ``(G * S, ...)``.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5)
    >>> to_slots(torch.tensor([[2.0], [4.0]]), Slots(half, torch.ones(1, 2, 1))).tolist()
    [[3.0]]
    """
    groups, length, _ = slots.dispatch.shape
    flat = x.reshape(groups, length, prod(x.shape[1:]))
    rows = slots.dispatch.to(x.dtype).transpose(1, 2) @ flat
    return rows.reshape(-1, *x.shape[1:])


def to_items(y: Tensor, slots: Slots) -> Tensor:
    """Slots ``(G * S, ...)`` to items ``(N, ...)``, or ``(T, N, ...)`` for ``T`` tasks."""
    *tasks, groups, length, count = slots.combine.shape
    items = slots.combine.to(y.dtype) @ y.reshape(groups, count, prod(y.shape[1:]))
    return items.reshape(*tasks, groups * length, *y.shape[1:])


def _swap(rows: Tensor, outer: int, inner: int) -> Tensor:
    """Slots by group and then by expert, to slots by expert and then by group; or back."""
    return rows.view(outer, inner, -1, *rows.shape[1:]).transpose(0, 1).flatten(0, 2)
