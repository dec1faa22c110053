"""Dtypes and backward passes of custom autograd functions."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def in_autocast_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast tensors as ``F.linear`` does where autocast is enabled; float64 stays.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     in_autocast_dtype(torch.ones(1))[0].dtype
    torch.bfloat16
    """
    device = tensors[0].device.type
    if tensors[0].dtype == torch.float64:
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) for tensor in tensors)


Backward = Callable[[Any, Tensor], tuple[Tensor | None, ...]]


def explicit_backward(backward: Backward) -> Backward:
    """Decorate a backward pass that has no derivative itself.

    It runs in the dtypes of its forward pass, wherever it is called, and gets a contiguous
    gradient: an expanded one has strides that no kernel takes.
    """

    @once_differentiable
    @wraps(backward)
    def run(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return backward(ctx, grad.contiguous())

    return run
