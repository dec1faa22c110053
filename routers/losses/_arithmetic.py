"""Arithmetic that several losses share."""

import torch
from torch import Tensor


def cv_squared(values: Tensor) -> Tensor:
    """Squared coefficient of variation along the last axis, with the population variance.

    No square root is taken, so that the gradient at perfect balance is 0 and not NaN.

    >>> round(cv_squared(torch.tensor([1.0, 3.0])).item(), 6)
    0.25
    """
    tiny = torch.finfo(values.dtype).tiny
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
