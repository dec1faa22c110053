"""Items to rows sorted by expert, and back: two moves, each the other's transpose."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from routers import Routing


@dataclass(frozen=True, eq=False)
class Moves:
    """Where the rows of a routing lie.

    Attributes:
        item: ``(A,)`` the item of each row; rows are sorted by expert.
        row: ``(A,)`` the rows of item 0, then those of item 1, and so on.
        start: ``(N,)`` where each item's rows begin in ``row``.
        weight: ``(A,)`` or ``(A, T)``, of each row.
    """

    item: Tensor
    row: Tensor
    start: Tensor
    weight: Tensor

    @classmethod
    def of(cls, routing: Routing) -> "Moves":
        """Sort the assignments by expert, and by item; not again where they lie so already."""
        item, weight, order = routing.item, routing.weight, None
        if routing.fan_in is None:
            order = routing.expert.argsort(stable=True)
            item, weight = item.index_select(0, order), weight.index_select(0, order)
        if order is not None and routing.fan_out is not None:
            row = torch.empty_like(order)
            row[order] = torch.arange(len(order), device=order.device)
        else:
            row = item.argsort(stable=True)
        count = torch.bincount(item, minlength=routing.num_items)
        return cls(item, row, count.cumsum(0) - count, weight)

    def gather(self, x: Tensor) -> Tensor:
        """Items ``(N, ...)`` to rows ``(A, ...)``."""
        rows: Tensor = _Gather.apply(x.flatten(1), self)  # type: ignore[no-untyped-call]
        return rows.view(-1, *x.shape[1:])

    def combine(self, out: Tensor) -> Tensor:
        """Weighted sums of each item's rows: ``(A, ...)`` to ``(N, ...)`` or ``(T, N, ...)``."""
        flat, weight = out.flatten(1), self.weight.to(out.dtype)
        if weight.dim() == 1:
            return self._combine(flat, weight).view(-1, *out.shape[1:])
        per_task = [self._combine(flat, w) for w in weight.unbind(1)]
        return torch.stack(per_task).view(weight.shape[1], -1, *out.shape[1:])

    def _combine(self, flat: Tensor, weight: Tensor) -> Tensor:
        sums: Tensor = _Combine.apply(flat, weight, self)  # type: ignore[no-untyped-call]
        return sums

    def sums(self, flat: Tensor, weight: Tensor | None = None) -> Tensor:
        """``(A, F)`` to ``(N, F)``; several times faster than ``index_add``, and it repeats."""
        if weight is not None:
            weight = weight.index_select(0, self.row)
        return F.embedding_bag(self.row, flat, self.start, mode="sum", per_sample_weights=weight)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, flat: Tensor, moves: Moves) -> Tensor:
        ctx.moves = moves
        return flat.index_select(0, moves.item)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.moves.sums(grad.contiguous()), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, weight: Tensor, moves: Moves) -> Tensor:
        ctx.moves = moves
        ctx.save_for_backward(out, weight)
        return moves.sums(out, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        out, weight = ctx.saved_tensors
        by_row = grad.index_select(0, ctx.moves.item)
        return by_row * weight.unsqueeze(1), torch.linalg.vecdot(by_row, out), None
