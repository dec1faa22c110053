"""One matrix product per expert, as one step."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


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
    device = rows.device.type
    if torch.is_autocast_enabled(device) and rows.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        rows, weight = rows.to(dtype), weight.to(dtype)
    out: Tensor = _GroupedLinear.apply(rows, weight, load)  # type: ignore[no-untyped-call]
    return out


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, load: Tensor) -> Tensor:
        rows, weight = rows.contiguous(), weight.contiguous()
        ctx.save_for_backward(rows, weight, load)
        return _rows_by_stack(rows, weight, load)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weight, load = ctx.saved_tensors
        grad = grad.contiguous()  # an expanded gradient has strides no kernel takes
        for_rows, for_weight, _ = ctx.needs_input_grad
        return (
            _rows_by_stack(grad, weight.transpose(1, 2), load) if for_rows else None,
            _rows_by_rows(rows, grad, load) if for_weight else None,
            None,
        )


def _rows_by_stack(rows: Tensor, stack: Tensor, load: Tensor) -> Tensor:
    """``(A, I)`` by ``(E, I, O)`` to ``(A, O)``."""
    if _has_kernel(rows, stack.shape[1:]):
        return F.grouped_mm(rows, stack, offs=_ends(load))
    out = rows.new_empty(rows.shape[0], stack.shape[2])
    counts = load.tolist()
    for part, matrix, into in zip(
        torch.split(rows, counts), stack, torch.split(out, counts), strict=True
    ):
        torch.mm(part, matrix, out=into)
    return out


def _rows_by_rows(left: Tensor, right: Tensor, load: Tensor) -> Tensor:
    """``(A, I)`` and ``(A, O)`` to ``(E, I, O)``: each expert's sum of outer products."""
    if _has_kernel(left, (left.shape[1], right.shape[1])):
        return F.grouped_mm(left.t(), right, offs=_ends(load))
    out = left.new_empty(load.shape[0], left.shape[1], right.shape[1])
    counts = load.tolist()
    for a, b, into in zip(torch.split(left, counts), torch.split(right, counts), out, strict=True):
        torch.mm(a.t(), b, out=into)
    return out


def _has_kernel(rows: Tensor, widths: tuple[int, ...]) -> bool:
    """Whether ``grouped_mm`` takes it: no float64, and strides in multiples of 16 bytes."""
    aligned = all(width * rows.element_size() % 16 == 0 for width in widths)
    return aligned and rows.dtype != torch.float64


def _ends(load: Tensor) -> Tensor:
    """Where each expert's rows end, as the kernel wants it."""
    return load.cumsum(0).to(torch.int32)
