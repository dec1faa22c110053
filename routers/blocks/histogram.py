"""Counts by value: small to keep, they add up over batches and ranks, and they know quantiles."""

import math

import torch
from torch import Tensor

#: Bins of each column, half of them below 0.
BINS = 512
#: Values nearer to 0 are not told apart; where the outermost bins end.
NEAR, FAR = 1e-7, 1e4
#: Beyond ``NEAR`` a bin's width is this share of its distance from 0, about a tenth.
STEP = 2 * math.log1p(FAR / NEAR) / BINS


def histogram(values: Tensor) -> Tensor:
    """How many values of each column lie in each of ``BINS`` bins, ``(E * BINS,)`` int64.

    Bins are the finer the nearer to 0, ``+-NEAR (exp(j STEP) - 1)``: whoever counts distances
    from a running estimate reads the next one as finely as it is near, on any scale.

    Args:
        values: ``(N, E)``; those beyond ``FAR`` count in the outermost bins.
    """
    columns = values.shape[1]
    place = values.sign() * (values.abs() / NEAR).log1p() / STEP + BINS / 2
    place = place.floor().clamp(0, BINS - 1).long()
    place = place + torch.arange(columns, device=values.device) * BINS
    return torch.bincount(place.flatten(), minlength=columns * BINS)


def quantile(counts: Tensor, fraction: float) -> Tensor:
    """Below which value that fraction of each column lies, even within a bin, ``(E,)`` float64.

    Args:
        counts: of ``histogram``, each column with a value or more.
        fraction: from 0 to 1.

    >>> values = torch.linspace(0, 1, 1000).unsqueeze(1)
    >>> round(quantile(histogram(values), 0.25).item(), 3)
    0.25
    """
    counts = counts.view(-1, BINS)
    below = counts.cumsum(1)
    wanted = fraction * below[:, -1:].double()
    inside = (below < wanted).sum(1, keepdim=True).clamp_max(BINS - 1)
    held = counts.gather(1, inside)
    rest = (wanted - below.gather(1, inside) + held) / held.clamp_min(1)
    low, high = _edge(inside), _edge(inside + 1)
    return (low + (high - low) * rest).squeeze(1)


def _edge(place: Tensor) -> Tensor:
    """Where a bin begins."""
    steps = place.double() - BINS // 2
    return steps.sign() * NEAR * (steps.abs() * STEP).expm1()
