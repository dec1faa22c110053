"""A fixed table from content to expert: nothing is learned."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._router import Router, Traits, routers
from .blocks.hash_tables import TABLES, by_bucket
from .blocks.required_inputs import given_ids
from .blocks.seeds import seeded
from .plugins.errors import ConfigError, bad_value, unknown
from .routing.items import Items
from .routing.routing import Routing


@routers.register("hash")
class Hash(Router):
    """A fixed table sends an item's id to its expert; nothing is learned.

    ``e = table[id]`` with weight 1; the same id goes to the same expert at every layer.
    Source: Roller et al. 2021, 2106.04426. Tables: ``random``; ``balanced``
    (most frequent ids first, each to the expert with the least so far); ``clustered``
    (k-means of the ids' mean features, a cluster to an expert); ``dispersed`` (the ids of each
    cluster dealt out to all experts). The last three are made by ``prepare`` from training data;
    ids that it does not hold go where ``random`` sends them.

    Args:
        dim: ``D``, not used.
        num_experts: ``E``.
        table: how the table is made.
        buckets: size of the table; ids are taken modulo this.
        seed: of the table.

    >>> router = Hash(4, 8)
    >>> ids = torch.tensor([5, 7, 5])
    >>> expert = router(Items(torch.zeros(3, 4), ids=ids)).expert
    >>> bool(expert[0] == expert[2])
    True
    """

    traits = Traits(learned=False, needs_ids=True, has_logits=False)
    space: ClassVar[Mapping[str, Any]] = {"table": list(TABLES)}

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
            raise unknown("router.table", table, TABLES)
        if buckets < 1:
            raise bad_value("router.buckets", buckets, "an integer of at least 1")
        self.rule = TABLES[table]
        self.seed = seed
        start = TABLES["random"].make(num_experts, torch.zeros(buckets), None, seeded(seed))
        self.register_buffer("table", start)
        self.register_buffer("ready", torch.tensor(not self.rule.reads_data))

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        counts, means = by_bucket(ids, features, self.table.numel())
        self.table.copy_(self.rule.make(self.num_experts, counts, means, seeded(self.seed)))
        self.ready.fill_(True)

    def forward(self, items: Items) -> Routing:
        ids = given_ids(items, "hash")
        if not self.ready:
            raise ConfigError(
                "router.table: this table is made from training data; call "
                "router.prepare(ids, features) first, or use router.table=random"
            )
        expert = self.table[ids % self.table.numel()].unsqueeze(1)
        weight = torch.ones_like(expert, dtype=items.x.dtype)
        return Routing.by_item(items, expert, weight, self.num_experts)
