"""Histograms that add up over batches and ranks and estimate quantiles."""

import math

import torch
from torch import Tensor

#: Bins of each column, half of them below 0.
BINS = 512
#: Values closer to 0 share the two central bins; values beyond the maximum share the outermost.
MIN_MAGNITUDE, MAX_MAGNITUDE = 1e-7, 1e4
#: Relative width of a bin far from 0, about a tenth.
STEP = 2 * math.log1p(MAX_MAGNITUDE / MIN_MAGNITUDE) / BINS


def histogram(values: Tensor) -> Tensor:
    """Counts of each column of values ``(N, E)`` in ``BINS`` bins, ``(E * BINS,)`` int64.

    Edges are ``+-MIN_MAGNITUDE (exp(j STEP) - 1)``: bins are finer near 0, so differences from
    a running estimate are resolved in proportion to their size, on any scale.
    """
    columns = values.shape[1]
    place = values.sign() * (values.abs() / MIN_MAGNITUDE).log1p() / STEP + BINS / 2
    place = place.floor().clamp(0, BINS - 1).long()
    place = place + torch.arange(columns, device=values.device) * BINS
    return torch.bincount(place.flatten(), minlength=columns * BINS)


def quantile(counts: Tensor, fraction: float) -> Tensor:
    """The ``fraction`` quantile of each column, interpolated within its bin, ``(E,)`` float64.

    ``counts`` are those of ``histogram``, with at least one value in every column.

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
    """Lower edge of a bin."""
    steps = place.double() - BINS // 2
    return steps.sign() * MIN_MAGNITUDE * (steps.abs() * STEP).expm1()
