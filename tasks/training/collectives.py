"""Sums and means over the processes of a run; the identity for a single process."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(values: Tensor) -> Tensor:
    """A new tensor: the sum over all ranks.

    >>> sum_over_ranks(torch.tensor([1, 2])).tolist()
    [1, 2]
    """
    values = values.clone()
    if is_distributed() and values.numel():
        dist.all_reduce(values)
    return values


def average_over_ranks(values: Iterable[Tensor]) -> None:
    """Replace every floating-point tensor by its mean over all ranks, in place.

    Sums are in float64, where the sum of equal float32 numbers is exact: values on which all
    ranks agree do not change.
    """
    floating = [each for each in values if each.is_floating_point() and each.numel()]
    if not floating or not is_distributed():
        return
    flat = torch.cat([each.detach().double().flatten() for each in floating])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = torch.split(flat, [each.numel() for each in floating])
    for each, part in zip(floating, parts, strict=True):
        each.copy_(part.view_as(each))


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized()
