"""Counts by value: small to keep, they add up over batches and ranks, and they know quantiles."""

import torch
from torch import Tensor

#: Bins of each column.
BINS = 512

Limit = float | Tensor


def histogram(values: Tensor, low: Limit, high: Limit) -> Tensor:
    """How many values of each column lie in each of ``BINS`` equal bins, ``(E * BINS,)`` int64.

    Args:
        values: ``(N, E)``; those outside count in the outermost bins.
        low: where the first bin begins.
        high: where the last one ends.
    """
    columns = values.shape[1]
    place = ((values - low) / (high - low) * BINS).clamp(0, BINS - 1).long()
    place = place + torch.arange(columns, device=values.device) * BINS
    return torch.bincount(place.flatten(), minlength=columns * BINS)


def quantile(counts: Tensor, fraction: float, low: Limit, high: Limit) -> Tensor:
    """Below which value that fraction of each column lies, even within a bin, ``(E,)`` float64.

    Args:
        counts: of ``histogram``, each column with a value or more.
        fraction: from 0 to 1.
        low: as it was there.
        high: as it was there.

    >>> values = torch.linspace(0, 1, 1000).unsqueeze(1)
    >>> round(quantile(histogram(values, 0.0, 1.0), 0.25, 0.0, 1.0).item(), 3)
    0.25
    """
    counts = counts.view(-1, BINS)
    below = counts.cumsum(1)
    wanted = fraction * below[:, -1:].double()
    inside = (below < wanted).sum(1, keepdim=True).clamp_max(BINS - 1)
    held = counts.gather(1, inside)
    rest = (wanted - below.gather(1, inside) + held) / held.clamp_min(1)
    return low + (high - low) * (inside + rest).squeeze(1) / BINS
