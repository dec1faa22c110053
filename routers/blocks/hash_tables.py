"""Tables from content ids to experts: at random, or fitted to the training data."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .clustering import k_means


def by_bucket(ids: Tensor, features: Tensor, buckets: int) -> tuple[Tensor, Tensor]:
    """Number of items per bucket, ``(V,)``, and their mean features, ``(V, F)`` float64.

    >>> counts, means = by_bucket(torch.tensor([0, 2, 0]), torch.tensor([[1.0], [5], [2]]), 3)
    >>> counts.tolist(), means.flatten().tolist()
    ([2, 0, 1], [1.5, 0.0, 5.0])
    """
    bucket = ids.cpu() % buckets
    counts = torch.bincount(bucket, minlength=buckets)
    flat = features.cpu().double().flatten(1)
    sums = flat.new_zeros(buckets, flat.shape[1]).index_add(0, bucket, flat)
    return counts, sums / counts.clamp_min(1).unsqueeze(1)


def _balanced(num_experts: int, counts: Tensor, _: Tensor, __: torch.Generator) -> Tensor:
    table = torch.empty_like(counts)
    load = [0] * num_experts
    for bucket in counts.argsort(descending=True, stable=True).tolist():
        lightest = min(range(num_experts), key=load.__getitem__)
        table[bucket] = lightest
        load[lightest] += int(counts[bucket])
    return table


def _clustered(num_experts: int, _: Tensor, means: Tensor, generator: torch.Generator) -> Tensor:
    return k_means(means, num_experts, generator)


def _dispersed(num_experts: int, _: Tensor, means: Tensor, generator: torch.Generator) -> Tensor:
    table = torch.empty(len(means), dtype=torch.int64)
    order = k_means(means, num_experts, generator).argsort(stable=True)
    table[order] = torch.arange(len(means)) % num_experts
    return table


#: ``(E, counts (V,), mean features (V, F), generator) -> experts (V,)`` of the buckets that occur
#: in the training data; None if the table needs no data.
TABLES: dict[str, Callable[[int, Tensor, Tensor, torch.Generator], Tensor] | None] = {
    "random": None,
    "balanced": _balanced,
    "clustered": _clustered,
    "dispersed": _dispersed,
}


def with_others(first: Tensor, k: int, num_experts: int, generator: torch.Generator) -> Tensor:
    """``k`` different experts of every id, ``(V, K)``: the given one, ``(V,)``, and random others.

    >>> table = with_others(torch.tensor([2, 0]), 3, 3, torch.Generator().manual_seed(0))
    >>> table[:, 0].tolist(), table.sum(1).tolist()
    ([2, 0], [3, 3])
    """
    chosen = first.unsqueeze(1)
    for number in range(1, k):
        drawn = torch.randint(num_experts - number, first.shape, generator=generator)
        for taken in chosen.sort(1).values.unbind(1):  # count up past those that are taken
            drawn = drawn + (drawn >= taken)
        chosen = torch.cat([chosen, drawn.unsqueeze(1)], 1)
    return chosen


def taken_from(
    table: Tensor, num_experts: int, index: Sequence[int], heirs: Sequence[int] | None
) -> Tensor:
    """A table of any shape over new experts, expert ``i`` of which is ``index[i]``.

    Copies share the ids of an expert; those of a removed one go to its heir, or all in turn.

    >>> table = torch.tensor([0, 1, 1, 2])
    >>> taken_from(table, 3, [1, 1], heirs=None).tolist()
    [0, 0, 1, 0]
    >>> taken_from(table, 3, [0, 2], heirs=[0, 1, 1]).tolist()
    [0, 1, 1, 1]
    """
    new = torch.empty_like(table)
    for expert in range(num_experts):
        places = [place for place, old in enumerate(index) if old == expert]
        rest = range(len(index)) if heirs is None else [heirs[expert]]
        heir = torch.tensor(places or rest, device=table.device)
        own = table == expert
        new[own] = heir[torch.arange(int(own.sum()), device=heir.device) % len(heir)]
    return new


def made_different(table: Tensor, num_experts: int) -> Tensor:
    """``(V, K)`` with every repeated expert of an id replaced by the next that it lacks.

    >>> made_different(torch.tensor([[1, 1, 1]]), 4).tolist()
    [[1, 2, 3]]
    """
    columns: list[Tensor] = []
    for column in table.unbind(1):
        for _ in columns:
            repeated = torch.stack([column == other for other in columns]).any(0)
            column = (column + repeated) % num_experts
        columns.append(column)
    return torch.stack(columns, 1)
