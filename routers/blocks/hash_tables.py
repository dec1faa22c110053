"""How a hash router's table is made (Roller et al. 2021, 2106.04426)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Table:
    """A way to make a table.

    Attributes:
        make: ``(E, counts (V,), features (V, F) | None, generator) -> table (V,)``.
        reads_data: whether it needs the counts and features of the training data.
    """

    make: Callable[[int, Tensor, Tensor | None, torch.Generator], Tensor]
    reads_data: bool


def by_bucket(ids: Tensor, features: Tensor, buckets: int) -> tuple[Tensor, Tensor]:
    """How many items each bucket gets, ``(V,)``, and their mean features, ``(V, F)`` float64.

    >>> counts, means = by_bucket(torch.tensor([0, 2, 0]), torch.tensor([[1.0], [5], [2]]), 3)
    >>> counts.tolist(), means.flatten().tolist()
    ([2, 0, 1], [1.5, 0.0, 5.0])
    """
    bucket = ids.cpu() % buckets
    counts = torch.bincount(bucket, minlength=buckets)
    flat = features.cpu().double().flatten(1)
    sums = flat.new_zeros(buckets, flat.shape[1]).index_add(0, bucket, flat)
    return counts, sums / counts.clamp_min(1).unsqueeze(1)


def _random(
    num_experts: int, counts: Tensor, features: Tensor | None, generator: torch.Generator
) -> Tensor:
    return torch.randint(num_experts, counts.shape, generator=generator)


def _balanced(
    num_experts: int, counts: Tensor, features: Tensor | None, generator: torch.Generator
) -> Tensor:
    table = _random(num_experts, counts, features, generator)  # for ids never seen
    load = [0] * num_experts
    seen = int((counts > 0).sum())
    for bucket in counts.argsort(descending=True, stable=True)[:seen].tolist():
        lightest = min(range(num_experts), key=load.__getitem__)
        table[bucket] = lightest
        load[lightest] += int(counts[bucket])
    return table


def _clustered(
    num_experts: int, counts: Tensor, features: Tensor | None, generator: torch.Generator
) -> Tensor:
    assert features is not None
    table = _random(num_experts, counts, features, generator)  # for ids never seen
    seen = (counts > 0).nonzero().squeeze(1)
    table[seen] = _k_means(features[seen], num_experts, generator)
    return table


def _dispersed(
    num_experts: int, counts: Tensor, features: Tensor | None, generator: torch.Generator
) -> Tensor:
    assert features is not None
    table = _random(num_experts, counts, features, generator)  # for ids never seen
    seen = (counts > 0).nonzero().squeeze(1)
    cluster = _k_means(features[seen], num_experts, generator)
    table[seen[cluster.argsort(stable=True)]] = torch.arange(len(seen)) % num_experts
    return table


def _k_means(points: Tensor, k: int, generator: torch.Generator, rounds: int = 50) -> Tensor:
    """Nearest of ``k`` centres for each point, ``(M,)``, after Lloyd's rounds."""
    if not len(points):
        return torch.empty(0, dtype=torch.int64)
    centres = points[torch.randperm(len(points), generator=generator)[:k]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        count = torch.bincount(nearest, minlength=len(centres)).unsqueeze(1)
        total = torch.zeros_like(centres).index_add(0, nearest, points)
        centres = torch.where(count > 0, total / count.clamp_min(1), centres)
    return torch.cdist(points, centres).argmin(1)


TABLES = {
    "random": Table(_random, reads_data=False),
    "balanced": Table(_balanced, reads_data=True),
    "clustered": Table(_clustered, reads_data=True),
    "dispersed": Table(_dispersed, reads_data=True),
}
