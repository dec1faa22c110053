"""Where the rows of a routing lie in the experts' buffer: items to rows, and back."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from routers import Routing
from routers.blocks import stable_order

_SUM = 0  # the mode of embedding_bag, as its kernels have it


@dataclass(frozen=True, eq=False)
class DispatchIndex:
    """A buffer for the rows of a routing, and the way there and back.

    The two ways are each other's transpose.

    Attributes:
        item: ``(A,)`` the item of each assignment, in the routing's order.
        source: ``(S,)`` the item of each row of the buffer; 0 for rows of padding.
        place: ``(A,)`` the row of each assignment, in the routing's order; None where row ``a``
            is assignment ``a``.
        by_item: ``(A,)`` the assignments of item 0, then those of item 1 …; None where they
            are in that order already.
        start: ``(N,)`` where each item's assignments begin in that order.
    """

    item: Tensor
    source: Tensor
    place: Tensor | None
    by_item: Tensor | None
    start: Tensor

    @classmethod
    def by_expert(cls, routing: Routing) -> "DispatchIndex":
        """Rows sorted by expert, and within an expert as in the routing; nothing padded."""
        if routing.fan_in is not None:
            return cls(routing.item, routing.item, None, *item_order(routing))
        order = routing.order
        row = torch.arange(len(order), device=order.device)
        place = torch.empty_like(order).index_copy_(0, order, row)
        source = routing.item.index_select(0, order)
        return cls(routing.item, source, place, *item_order(routing))

    @classmethod
    def at_rows(cls, routing: Routing, row: Tensor, size: int) -> "DispatchIndex":
        """Rows anywhere in a buffer of ``size``; ``row`` ``(A,)`` in the experts' order."""
        order = routing.order
        item = routing.item.index_select(0, order)
        source = item.new_zeros(size).index_copy_(0, row, item)
        place = torch.empty_like(order).index_copy_(0, order, row)
        return cls(routing.item, source, place, *item_order(routing))

    @cached_property
    def sorted_item(self) -> Tensor:
        """``(A,)`` the items of those rows: 0, …, 0, 1, …"""
        if self.by_item is None:
            return self.item.contiguous()  # of a single item it may be one number, expanded
        return self.item.index_select(0, self.by_item)

    @cached_property
    def sorted_row(self) -> Tensor:
        """``(A,)`` the rows of item 0, then those of item 1 and so on."""
        if self.by_item is None or self.place is None:
            return cast(Tensor, self.place if self.by_item is None else self.by_item)
        return self.place.index_select(0, self.by_item)

    def gather(self, x: Tensor) -> Tensor:
        """Items ``(N, ...)`` to rows ``(S, ...)``."""
        rows: Tensor = _Gather.apply(x.flatten(1), self)  # type: ignore[no-untyped-call]
        return rows.view(-1, *x.shape[1:])

    def combine(self, out: Tensor, weight: Tensor) -> Tensor:
        """Weighted sums of each item's rows: ``(S, ...)`` to ``(N, ...)`` or ``(T, N, ...)``.

        Args:
            out: what the experts made of the rows.
            weight: ``(A,)`` or ``(A, T)``, in the routing's order.
        """
        flat, weight = out.flatten(1), weight.to(out.dtype)
        if weight.dim() == 1:
            return self._combine(flat, weight).view(-1, *out.shape[1:])
        per_task = [self._combine(flat, w) for w in weight.unbind(1)]
        return torch.stack(per_task).view(weight.shape[1], -1, *out.shape[1:])

    def _combine(self, flat: Tensor, weight: Tensor) -> Tensor:
        sums: Tensor = _Combine.apply(flat, weight, self)  # type: ignore[no-untyped-call]
        return sums

    def rows(self, x: Tensor) -> Tensor:
        """Items ``(N, F)`` to rows ``(S, F)``."""
        return x.index_select(0, self.source)

    def sums(self, rows: Tensor, weight: Tensor | None) -> Tensor:
        """``(S, F)`` to ``(N, F)``; several times faster than ``index_add``, and it repeats."""
        if weight is not None and self.by_item is not None:
            weight = weight.index_select(0, self.by_item)
        return F.embedding_bag(
            self.sorted_row, rows, self.start, mode="sum", per_sample_weights=weight
        )

    def scaled(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Items ``(N, F)`` to rows ``(S, F)``, each times its weight; 0 at padding."""
        assert weight is not None  # only rows that stay where they are go without
        if self.place is not None:
            weight = weight.new_zeros(len(self.source)).index_copy_(0, self.place, weight)
        each = torch.arange(len(self.source), device=weight.device)
        return F.embedding_bag(self.source, x, each, mode="sum", per_sample_weights=weight)

    def dots(self, x: Tensor, rows: Tensor) -> Tensor:
        """Of each assignment's item ``(N, F)`` with its row ``(S, F)``: ``(A,)``."""
        if not len(self.item):
            return x.new_empty(0)
        dots: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            x, rows, self.sorted_row, self.start, self.sorted_item, _SUM
        )
        if self.by_item is None:
            return dots
        return torch.empty_like(dots).index_copy_(0, self.by_item, dots)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: DispatchIndex) -> Tensor:
        ctx.places = places
        return places.rows(flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.places.sums(grad.contiguous(), None), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, weight: Tensor, places: DispatchIndex) -> Tensor:
        ctx.places = places
        ctx.save_for_backward(out, weight)
        return places.sums(out, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        out, weight = ctx.saved_tensors
        places: DispatchIndex = ctx.places
        grad = grad.contiguous()  # an expanded gradient has strides no kernel takes
        return places.scaled(grad, weight), places.dots(grad, out), None


def item_order(routing: Routing) -> tuple[Tensor | None, Tensor]:
    """``DispatchIndex.by_item`` and ``DispatchIndex.start`` of a routing."""
    n, device = routing.num_items, routing.item.device
    if routing.fan_out is not None:
        return None, torch.arange(0, n * routing.fan_out, routing.fan_out, device=device)
    count = torch.bincount(routing.item, minlength=n)
    return stable_order(routing.item, n), count.cumsum(0) - count
