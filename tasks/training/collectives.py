"""Sums and means over the processes of a run; the identity for a single process."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from routers.blocks import is_distributed, sum_over_ranks

__all__ = ["average_over_ranks", "is_distributed", "sum_over_ranks"]


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
