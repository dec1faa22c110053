"""Sparse projections onto the probability simplex, with exact gradients."""

import torch
from torch import Tensor

#: Bisection steps: enough for the last bit of float64.
_BISECTIONS = 60


def entmax(logits: Tensor, alpha: float) -> Tensor:
    """``p = [(alpha - 1) h - tau]_+ ^ (1 / (alpha - 1))`` with ``sum p = 1``, along the last axis.

    ``alpha=2`` is sparsemax, the limit ``alpha -> 1`` the softmax. The threshold ``tau`` is found
    exactly by sorting for ``alpha=2`` (Martins and Astudillo 2016, 1602.02068, algorithm 1)
    or 1.5 (Peters et al. 2019, 1905.05702, algorithm 2), by bisection otherwise (algorithm 1
    of the latter). ``alpha`` is in (1, 2]; ``p`` is exactly zero outside the support.

    >>> entmax(torch.tensor([1.0, 0.5, -1.0]), 2.0).tolist()
    [0.75, 0.25, 0.0]
    """
    scaled = (alpha - 1) * (logits - logits.amax(-1, keepdim=True).detach())
    power = 1 / (alpha - 1)
    fixed = scaled.detach()
    tau = _THRESHOLDS.get(alpha, _by_bisection)(fixed, power)
    # the gradient of tau is the mean of the scores' gradients, weighted with the slopes
    rise = (fixed - tau).clamp_min(0)
    slope = torch.where(rise > 0, rise ** (power - 1), 0.0)
    slope = slope / slope.sum(-1, keepdim=True)
    moving = tau + (slope * (scaled - fixed)).sum(-1, keepdim=True)
    return (scaled - moving).clamp_min(0) ** power


def _by_sorting(scaled: Tensor, power: float) -> Tensor:
    """Threshold for ``alpha=2``: the support is the longest prefix with ``1 + k z_k > sum z``."""
    ranked, count = _ranked(scaled)
    tau = (ranked.cumsum(-1) - 1) / count
    return _last_below(tau, ranked)


def _by_sorting_squares(scaled: Tensor, power: float) -> Tensor:
    """Threshold for ``alpha=1.5``: the smaller root of ``sum (z - tau)^2 = 1`` over a prefix."""
    ranked, count = _ranked(scaled)
    mean = ranked.cumsum(-1) / count
    spread = ranked.square().cumsum(-1) - count * mean.square()  # about the mean
    tau = mean - ((1 - spread) / count).clamp_min(0).sqrt()
    return _last_below(tau, ranked)


def _by_bisection(scaled: Tensor, power: float) -> Tensor:
    """Threshold for any ``alpha``, between those of a one-hot and of a uniform ``p``."""
    low = torch.full_like(scaled[..., :1], -1.0)
    high = torch.full_like(low, -(scaled.shape[-1] ** (-1 / power)))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        heavy = ((scaled - middle).clamp_min(0) ** power).sum(-1, keepdim=True) >= 1
        low, high = torch.where(heavy, middle, low), torch.where(heavy, high, middle)
    return low


_THRESHOLDS = {2.0: _by_sorting, 1.5: _by_sorting_squares}


def _ranked(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in descending order, and the number of scores up to each."""
    ranked = scaled.sort(-1, descending=True).values
    return ranked, torch.arange(1, ranked.shape[-1] + 1, device=ranked.device)


def _last_below(tau: Tensor, ranked: Tensor) -> Tensor:
    """The threshold of the longest prefix whose scores all exceed it, ``(..., 1)``."""
    size = (tau < ranked).sum(-1, keepdim=True)
    return tau.gather(-1, size - 1)
