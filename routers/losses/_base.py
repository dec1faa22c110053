"""The registry of auxiliary losses, and the arithmetic that several share."""

from collections.abc import Callable
from functools import lru_cache
from typing import get_args, get_type_hints

import torch
from torch import Tensor

from ..plugins.registry import Registry

#: ``(routing, **options) -> scalar``; the options are the function's keyword arguments.
Loss = Callable[..., Tensor]

LOSSES: Registry[Tensor] = Registry("losses", base=None, group="switchyard.losses", positional=1)


@lru_cache
def levels_of(loss: Loss) -> tuple[str, ...]:
    """The values that the argument ``level`` of a loss may take; empty if it has no such argument.

    >>> levels_of(LOSSES["load"]), levels_of(LOSSES["z"])
    (('batch', 'step'), ())
    """
    return get_args(get_type_hints(loss).get("level"))


def cv_squared(values: Tensor) -> Tensor:
    """Squared coefficient of variation along the last axis, with the population variance.

    No square root is taken, so that the gradient at perfect balance is 0 and not NaN. Values are
    scaled by a power of two, which rounds nothing, so that no square overflows.

    >>> round(cv_squared(torch.tensor([1.0, 3.0])).item(), 6)
    0.25
    """
    tiny = torch.finfo(values.dtype).tiny
    highest = values.detach().abs().amax(-1, keepdim=True).clamp_min(tiny)
    values = values * (torch.frexp(highest).mantissa / highest)
    mean = values.mean(-1, keepdim=True)
    return (values - mean).square().mean(-1) / mean.squeeze(-1).square().clamp_min(tiny)


def entropies(probs: Tensor) -> Tensor:
    """Entropy along the last axis in nats; 0 log 0 is 0, with a finite gradient.

    >>> round(entropies(torch.tensor([0.5, 0.5])).item(), 4)
    0.6931
    """
    tiny = torch.finfo(probs.dtype).tiny
    return -(probs * probs.clamp_min(tiny).log()).sum(-1)


def mean_or_zero(values: Tensor) -> Tensor:
    """Mean over the first axis; 0 where it is empty."""
    return values.sum(0) / max(values.shape[0], 1)
