"""Hash routing: a fixed table from content ids to experts."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import holds, k_means, require_ids, seeded_generator
from .plugins import ConfigError, OptionError, rebuilt, unknown
from .routing import Items, Routing


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


_NOT_READY = (
    "router.table: the table is computed from training data; call "
    "router.prepare(ids, features) first, or use router.table=random"
)


@ROUTERS.register("hash")
class Hash(Router):
    """A fixed table maps each item's id to an expert; nothing is learned.

    ``e = table[id]`` with weight 1; an id has the same expert in every layer.
    Source: Roller et al. 2021, 2106.04426. Tables: ``random``; ``balanced``
    (ids in order of frequency, each to the expert with the smallest load so far); ``clustered``
    (k-means of the ids' mean features, one cluster per expert); ``dispersed`` (the ids of each
    cluster spread over all experts). ``prepare`` computes the last three from the training data;
    other ids are assigned as by ``random``.

    Args:
        dim: ``D``, unused.
        table: ``random``, ``balanced``, ``clustered`` or ``dispersed``.
        buckets: size of the table; ids are reduced modulo this.
        seed: random seed of the table.

    >>> router = Hash(4, 8)
    >>> ids = torch.tensor([5, 7, 5])
    >>> expert = router(Items(torch.zeros(3, 4), ids=ids)).expert
    >>> bool(expert[0] == expert[2])
    True
    """

    traits = Traits(learned=False, needs_ids=True, has_logits=False)
    search_space = {"table": list(TABLES)}

    table: Tensor
    ready: Tensor

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        table: str = "random",
        buckets: int = 65536,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_experts)
        if table not in TABLES:
            raise unknown("table", table, TABLES)
        if buckets < 1:
            raise OptionError("buckets", buckets, "an integer >= 1")
        self._assign = TABLES[table]  # private, as a value that is set later would not matter
        self._seed = seed
        start = torch.randint(num_experts, (buckets,), generator=seeded_generator(seed))
        self.register_buffer("table", start)
        self.register_buffer("ready", torch.tensor(self._assign is None))

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        generator = seeded_generator(self._seed)
        table = torch.randint(self.num_experts, self.table.shape, generator=generator)
        if self._assign is not None:
            counts, means = by_bucket(ids, features, len(table))
            seen = counts.nonzero().squeeze(1)
            table[seen] = self._assign(self.num_experts, counts[seen], means[seen], generator)
        self.table.copy_(table)
        self.ready.fill_(True)

    def take_experts(self, index: Sequence[int], heirs: Sequence[int] | None = None) -> "Hash":
        """Copies share the buckets of an expert; those of a removed one go to its heir, or all."""
        new = rebuilt(self, num_experts=len(index)).to(self.table.device).train(self.training)
        for expert in range(self.num_experts):
            places = [place for place, old in enumerate(index) if old == expert]
            rest = range(len(index)) if heirs is None else [heirs[expert]]
            heir = torch.tensor(places or rest, device=self.table.device)
            own = (self.table == expert).nonzero().squeeze(1)
            new.table[own] = heir[torch.arange(len(own), device=heir.device) % len(heir)]
        new.ready.copy_(self.ready)
        return new

    def forward(self, items: Items) -> Routing:
        ids = require_ids(items, "hash")
        if not holds(self.ready, _NOT_READY):
            raise ConfigError(_NOT_READY)
        expert = self.table[ids % self.table.numel()].unsqueeze(1)
        weight = torch.ones_like(expert, dtype=items.x.dtype)
        return Routing.by_item(items, expert, weight, self.num_experts)
