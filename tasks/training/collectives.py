"""Sums, means and agreement over the processes of a run; the identity for a single process."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from routers import ConfigError
from routers.blocks import is_distributed

T = TypeVar("T")


def sum_and_average(sums: Sequence[Tensor], means: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over ranks, and floating-point ones by their means.

    All are exchanged at once as float64, where integers below 2**53 are exact, and the sum of equal
    float32 numbers: values on which all ranks agree do not change.
    """
    if not is_distributed():
        return
    averaged = [each for each in means if each.is_floating_point() and each.numel()]
    every = [*sums, *averaged]
    flat = torch.cat([each.detach().double().flatten() for each in every])
    dist.all_reduce(flat)
    flat[sum(each.numel() for each in sums) :] /= dist.get_world_size()
    for each, part in zip(every, torch.split(flat, [each.numel() for each in every]), strict=True):
        each.copy_(part.view_as(each))


def agreed(action: Callable[[], T], *, by_first: bool = False) -> T:
    """The result of an action in every process; a ``ConfigError`` in one of them is that of all.

    Args:
        action: what is done.
        by_first: whether only the first process does it, whose result all get.

    >>> agreed(lambda: 3)
    3
    """
    if not is_distributed():
        return action()
    value: Any = None
    problem = None
    if not by_first or dist.get_rank() == 0:
        try:
            value = action()
        except ConfigError as error:
            problem = str(error)
    said: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(said, (value if by_first else None, problem))
    for _, each in said:
        if each is not None:
            raise ConfigError(each)
    found: T = said[0][0] if by_first else value
    return found
