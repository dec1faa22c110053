"""One matrix product per expert, as one autograd function."""

from typing import Any

import torch
from torch import Tensor

from routers.blocks import uncompiled

from .autocast import explicit_backward, in_autocast_dtype
from .layouts import Layout, sorted_layout


@uncompiled
def grouped_linear(rows: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    """Multiply each row by the matrix of its expert.

    One step of autograd, however many experts: indexing ``weight[e]`` in a loop instead costs
    a full gradient of the stack per expert. An expert without rows gets a gradient of zero.
    Under autocast it works in autocast's dtype, as ``F.linear`` does.

    Args:
        rows: ``(A, I)``, sorted by expert.
        weight: ``(E, I, O)``.
        load: ``(E,)`` int64, rows of each expert.

    Returns:
        ``(A, O)``.

    >>> weight = torch.tensor([[[1.0]], [[10.0]]])
    >>> grouped_linear(torch.ones(3, 1), weight, torch.tensor([1, 2])).tolist()
    [[1.0], [10.0], [10.0]]
    """
    if torch.is_autocast_enabled(rows.device.type):
        rows, weight = in_autocast_dtype(rows, weight)
    out: Tensor = _GroupedLinear.apply(rows, weight, load)  # type: ignore[no-untyped-call]
    return out


def linear_by_position(rows: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    """Multiply every position of rows ``(A, L, I)`` by the matrix of the row's expert."""
    flat = grouped_linear(rows.flatten(0, 1), weight, load * rows.shape[1])
    return flat.view(*rows.shape[:2], weight.shape[2])


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, load: Tensor) -> Tensor:
        rows, weight = rows.contiguous(), weight.contiguous()
        ctx.save_for_backward(rows, weight)
        ctx.layout = sorted_layout(load)
        return ctx.layout.grouped_matmul(rows, weight)

    @staticmethod
    @explicit_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        layout: Layout = ctx.layout
        for_rows, for_weight, _ = ctx.needs_input_grad
        return (
            layout.grouped_matmul(grad, weight.transpose(1, 2)) if for_rows else None,
            layout.grouped_outer(rows, grad) if for_weight else None,
            None,
        )
