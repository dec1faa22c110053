"""Batches whose busiest expert has a given share of the work."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from routers import Items

_STEPS = 30


@dataclass(frozen=True)
class Skew:
    """Adds a multiple of one direction, ``(D,)``, to every token of a batch.

    The direction favours whichever experts look along it, the same for all tokens.
    """

    shift: Tensor

    def __call__(self, batch: Tensor) -> Tensor:
        return batch + self.shift


@torch.no_grad()
def load_ratio(router: nn.Module, x: Tensor) -> float:
    """The busiest expert's load over the mean load; from 1 to ``E / K``."""
    load = router(Items(x)).load.double()
    return float(load.max() / load.mean())


def find_skew(router: nn.Module, x: Tensor, target: float, generator: torch.Generator) -> Skew:
    """The least skew at which the busiest expert has ``target`` times the mean load.

    Args:
        router: a top-K router.
        x: ``(N, D)``, a batch to calibrate on.
        target: from 1 to ``E / K``. A batch that is at it already stays as it is.
        generator: draws the direction; on the CPU.
    """
    direction = torch.randn(x.shape[-1], generator=generator).to(x.device, x.dtype)
    low, high = 0.0, 1.0
    if load_ratio(router, x) >= target:
        return Skew(torch.zeros_like(direction))
    while load_ratio(router, x + high * direction) < target and high < 2**_STEPS:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if load_ratio(router, x + middle * direction) < target:
            low = middle
        else:
            high = middle
    return Skew(high * direction)
