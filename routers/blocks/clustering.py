"""Clusters of points by Lloyd's algorithm."""

import torch
from torch import Tensor


def k_means(points: Tensor, k: int, generator: torch.Generator, rounds: int = 50) -> Tensor:
    """Index of each point's nearest of ``k`` centroids, ``(M,)``, after so many rounds.

    The first centroids are points that are drawn without repeats; an empty cluster keeps its own.

    >>> points = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
    >>> found = k_means(points, 2, torch.Generator().manual_seed(0))
    >>> bool(found[0] == found[1] != found[2] == found[3])
    True
    """
    if not len(points):
        return torch.empty(0, dtype=torch.int64)
    centres = points[torch.randperm(len(points), generator=generator)[:k]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        count = torch.bincount(nearest, minlength=len(centres)).unsqueeze(1)
        total = torch.zeros_like(centres).index_add(0, nearest, points)
        centres = torch.where(count > 0, total / count.clamp_min(1), centres)
    return torch.cdist(points, centres).argmin(1)
