"""How the rows of all experts lie in one buffer: the index to them, and products over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from routers import Routing

from .autocast import explicit_backward
from .gemm_cost import GEMM_COSTS, Counts, GemmCostModel, base_rows, rounded_rows

_SUM = 0  # the mode of embedding_bag, as its kernels number it


def plan_for(routing: Routing, row_flops: int, x: Tensor) -> tuple["Layout", "DispatchIndex"]:
    """Choose the cheapest layout for a routing of items ``x``, and index its rows there.

    - Expert choice and slots: every expert has the same number of rows, already in order. One
      batched product, nothing padded.
    - On a GPU: rows sorted by expert, through one grouped kernel that reads where experts end.
    - On a CPU: by the cost model of matrix products and ``row_flops``. See ``base_rows``.
    """
    if routing.fan_in is not None:
        return Even(routing.num_experts, routing.fan_in), DispatchIndex.by_expert(routing)
    cost = GEMM_COSTS.get(x.dtype)
    if x.device.type == "cpu" and cost is not None and len(routing.item):
        shape = (routing.num_experts, len(routing.item))
        if cost.rounded or may_batch(*shape, row_flops, cost):
            load = routing.load.numpy()
            base = base_rows(load, row_flops, cost)
            if cost.rounded or base:
                layout, row = padded_plus_tail(load, base, cost)
                return layout, DispatchIndex.at_rows(routing, torch.from_numpy(row), layout.size)
    index = DispatchIndex.by_expert(routing)
    return Ragged(routing.load), index


def may_batch(num_experts: int, num_rows: int, row_flops: int, cost: GemmCostModel) -> bool:
    """Whether batching can pay off: 32 experts or more, each with work for under 5 kernel calls.

    Otherwise even reading the load, which ``base_rows`` needs, would cost more.

    >>> cost = GEMM_COSTS[torch.float32]
    >>> may_batch(64, 1024, 500, cost), may_batch(8, 1024, 500, cost)
    (True, False)
    """
    threads = torch.get_num_threads()
    work = num_rows / num_experts * row_flops / (cost.operations * threads)
    return num_experts >= 32 and work < 5 * cost.kernel[threads > 1]


def sorted_layout(load: Tensor) -> "Layout":
    """The layout of rows that lie sorted by expert, ``load`` ``(E,)`` of each."""
    if load.device.type == "cpu" and load.min() == load.max():
        return Even(len(load), int(load[0]))
    return Ragged(load)


@dataclass(frozen=True)
class Even:
    """``C`` rows per expert, expert by expert: one batched product, nothing padded."""

    num_experts: int
    rows_each: int

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        return torch.bmm(self._batched(rows), stack).flatten(0, 1)

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.bmm(self._batched(left).transpose(1, 2), self._batched(right))

    def _batched(self, rows: Tensor) -> Tensor:
        return rows.view(self.num_experts, self.rows_each, rows.shape[1])


@dataclass(frozen=True, eq=False)
class Ragged:
    """Any number of rows per expert, ``load`` ``(E,)`` int64, expert by expert, nothing padded.

    One grouped kernel if dtype and widths allow, else a product per expert.
    """

    load: Tensor

    @cached_property
    def counts(self) -> list[int]:
        """The load on the host, which the grouped kernel does not need."""
        counts: list[int] = self.load.tolist()
        return counts

    @cached_property
    def ends(self) -> Tensor:
        """End of each expert's rows, for the grouped kernel."""
        return self.load.cumsum(0).to(torch.int32)

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        if _has_kernel(rows, stack.shape[1:]):
            return F.grouped_mm(rows, stack, offs=self.ends)
        out = rows.new_empty(rows.shape[0], stack.shape[2])
        parts, outs = (torch.split(each, self.counts) for each in (rows, out))
        multiply_each(parts, stack.unbind(), outs)
        return out

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        if _has_kernel(left, (left.shape[1], right.shape[1])):
            return F.grouped_mm(left.t(), right, offs=self.ends)
        out = left.new_empty(len(self.counts), left.shape[1], right.shape[1])
        lefts, rights = torch.split(left.t(), self.counts, 1), torch.split(right, self.counts)
        multiply_each(lefts, rights, out.unbind())
        return out


def multiply_each(
    lefts: Sequence[Tensor], rights: Sequence[Tensor], outs: Sequence[Tensor]
) -> None:
    """Write one matrix product per expert."""
    for left, right, out in zip(lefts, rights, outs, strict=True):
        torch.mm(left, right, out=out)


@dataclass(frozen=True)
class PaddedPlusTail:
    """The first ``base`` rows of every expert in one batched product, the rest expert by expert.

    If experts have few rows, a call per expert costs more than padding all of them to ``base``
    rows; each of the few busy experts has a separate tail.

    Attributes:
        num_experts: ``E``.
        base: rows of each expert in the batched part, padding included; may be 0.
        tails: ``(expert, first row, end)`` of what does not fit there.
        size: rows of the buffer, ``S``.
    """

    num_experts: int
    base: int
    tails: Sequence[tuple[int, int, int]]
    size: int

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        out = rows.new_empty(self.size, stack.shape[2])
        if self.base:
            torch.bmm(self._head(rows), stack, out=self._head(out))
        for expert, first, end in self.tails:
            torch.mm(rows[first:end], stack[expert], out=out[first:end])
        return out

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        if self.base:
            out = torch.bmm(self._head(left).transpose(1, 2), self._head(right))
            for expert, first, end in self.tails:
                out[expert].addmm_(left[first:end].t(), right[first:end])
            return out
        out = left.new_empty(self.num_experts, left.shape[1], right.shape[1])
        for expert, first, end in self.tails:
            torch.mm(left[first:end].t(), right[first:end], out=out[expert])
        for idle in set(range(self.num_experts)) - {expert for expert, _, _ in self.tails}:
            out[idle].zero_()
        return out

    def _head(self, rows: Tensor) -> Tensor:
        head = self.num_experts * self.base
        return rows[:head].view(self.num_experts, self.base, rows.shape[1])


#: Its products are ``grouped_matmul``, each row by its expert's matrix, ``(S, I)`` and
#: ``(E, I, O)`` to ``(S, O)``, and ``grouped_outer``, each expert's sum of outer products,
#: ``(S, I)`` and ``(S, O)`` to ``(E, I, O)``.
Layout = Even | Ragged | PaddedPlusTail


def _has_kernel(rows: Tensor, widths: Sequence[int]) -> bool:
    """Whether ``F.grouped_mm`` takes these: no float64, strides in multiples of 16 bytes."""
    if rows.dtype == torch.float64 or not rows.numel():
        return False
    return all(width * rows.element_size() % 16 == 0 for width in widths)


def padded_plus_tail(
    load: Counts, base: int, cost: GemmCostModel
) -> tuple[PaddedPlusTail, np.ndarray[Any, Any]]:
    """The layout for a load, and the row ``(A,)`` of each assignment in it, in expert order."""
    over = load - base
    (busy,) = np.nonzero(over > 0)
    room = over[busy]
    if cost.rounded:
        room = np.array([rounded_rows(count) for count in room.tolist()], dtype=np.int64)
    head = len(load) * base
    end = head + room.cumsum()
    tails = list(zip(busy.tolist(), (end - room).tolist(), end.tolist(), strict=True))
    size = int(end[-1]) if tails else head
    # in expert order each expert has a run in its batched part, then one in its tail
    start = np.stack([np.arange(len(load)) * base, np.zeros_like(load)], 1)
    start[busy, 1] = end - room
    length = np.stack([np.minimum(load, base), np.maximum(over, 0)], 1).ravel()
    shift = start.ravel() - (length.cumsum() - length)
    row = np.arange(int(length.sum())) + np.repeat(shift, length)
    return PaddedPlusTail(len(load), base, tails, size), row


@dataclass(frozen=True, eq=False)
class DispatchIndex:
    """The rows of a routing's assignments in a buffer: items to rows, and back.

    The two directions are each other's transpose.

    Attributes:
        item: ``(A,)`` the item of each assignment, in the routing's order.
        source: ``(S,)`` the item of each row of the buffer; 0 for rows of padding.
        row: ``(A,)`` the row of each assignment, in the routing's order; None if row ``a`` is
            assignment ``a``.
        by_item: ``(A,)`` the assignments of item 0, then those of item 1 …; None if they are in
            that order already.
        start: ``(N,)`` where each item's assignments begin in that order.
    """

    item: Tensor
    source: Tensor
    row: Tensor | None
    by_item: Tensor | None
    start: Tensor

    @classmethod
    def by_expert(cls, routing: Routing) -> "DispatchIndex":
        """Rows sorted by expert, and within an expert as in the routing; nothing padded."""
        if routing.fan_in is not None:
            return cls(routing.item, routing.item, None, *routing.item_order)
        order = routing.order
        row = torch.empty_like(order)
        row.index_copy_(0, order, torch.arange(len(order), device=order.device))
        source = routing.item.index_select(0, order)
        return cls(routing.item, source, row, *routing.item_order)

    @classmethod
    def at_rows(cls, routing: Routing, row: Tensor, size: int) -> "DispatchIndex":
        """Rows anywhere in a buffer of ``size``; ``row`` ``(A,)`` in expert order."""
        order = routing.order
        item = routing.item.index_select(0, order)
        source = item.new_zeros(size).index_copy_(0, row, item)
        row = torch.empty_like(order).index_copy_(0, order, row)
        return cls(routing.item, source, row, *routing.item_order)

    @cached_property
    def sorted_item(self) -> Tensor:
        """``(A,)`` the items of those rows: 0, …, 0, 1, …"""
        if self.by_item is None:
            return self.item.contiguous()  # of a single item it may be one number, expanded
        return self.item.index_select(0, self.by_item)

    @cached_property
    def sorted_row(self) -> Tensor:
        """``(A,)`` the rows of item 0, then those of item 1 and so on."""
        if self.row is None:
            if self.by_item is not None:
                return self.by_item
            return torch.arange(len(self.item), device=self.item.device)
        return self.row if self.by_item is None else self.row.index_select(0, self.by_item)

    def gather(self, x: Tensor) -> Tensor:
        """Items ``(N, ...)`` to rows ``(S, ...)``."""
        rows: Tensor = _Gather.apply(x.flatten(1), self)  # type: ignore[no-untyped-call]
        return rows.view(-1, *x.shape[1:])

    def combine(self, out: Tensor, weight: Tensor) -> Tensor:
        """Weighted sums of each item's rows: ``(S, ...)`` to ``(N, ...)`` or ``(T, N, ...)``.

        ``weight`` is ``(A,)`` or ``(A, T)``, in the routing's order.
        """
        flat, weight = out.flatten(1), weight.to(out.dtype)
        per_task = weight.unbind(1) if weight.dim() > 1 else [weight]
        sums = [_Combine.apply(flat, w, self) for w in per_task]  # type: ignore[no-untyped-call]
        y: Tensor = torch.stack(sums) if weight.dim() > 1 else sums[0]
        return y.view(*weight.shape[1:], -1, *out.shape[1:])

    def rows(self, x: Tensor) -> Tensor:
        """Items ``(N, F)`` to rows ``(S, F)``."""
        return x.index_select(0, self.source)

    def sums(self, rows: Tensor, weight: Tensor | None) -> Tensor:
        """``(S, F)`` to ``(N, F)``; deterministic, several times faster than ``index_add``."""
        if weight is not None and self.by_item is not None:
            weight = weight.index_select(0, self.by_item)
        return F.embedding_bag(
            self.sorted_row, rows, self.start, mode="sum", per_sample_weights=weight
        )

    def scaled(self, x: Tensor, weight: Tensor) -> Tensor:
        """Items ``(N, F)`` to rows ``(S, F)``, each times its weight; 0 at padding."""
        if self.row is not None:
            weight = weight.new_zeros(len(self.source)).index_copy_(0, self.row, weight)
        each = torch.arange(len(self.source), device=weight.device)
        return F.embedding_bag(self.source, x, each, mode="sum", per_sample_weights=weight)

    def dots(self, x: Tensor, rows: Tensor) -> Tensor:
        """Dot products of each assignment's item ``(N, F)`` and row ``(S, F)``: ``(A,)``."""
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
    def forward(ctx: Any, flat: Tensor, index: DispatchIndex) -> Tensor:
        ctx.index = index
        return index.rows(flat)

    @staticmethod
    @explicit_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.index.sums(grad, None), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, weight: Tensor, index: DispatchIndex) -> Tensor:
        ctx.index = index
        ctx.save_for_backward(out, weight)
        return index.sums(out, weight)

    @staticmethod
    @explicit_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, weight = ctx.saved_tensors
        index: DispatchIndex = ctx.index
        return index.scaled(grad, weight), index.dots(grad, out), None
