"""Hash routing: a fixed table from content ids to experts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import (
    AFFINITIES,
    CONTENT_KEYS,
    TABLES,
    by_bucket,
    check_k,
    check_k_above_one,
    holds,
    made_different,
    seeded_generator,
    taken_from,
    with_others,
)
from .gates import Gate, GateSpec, take_outputs
from .plugins import ConfigError, OptionError, named, rebuilt
from .routing import Items, Routing

UNIFORM = "uniform"  # the weighting without a gate

_NOT_READY = (
    "router.table: the table is computed from training data; call "
    "router.prepare(ids, features) first, or use router.table=random"
)


@ROUTERS.register("hash")
class Hash(Router):
    """A fixed table maps each item's id to its experts; only their weights may be learned.

    ``e_1 … e_K = table[id]``, each with weight ``1 / K``, or with the score of a gate divided by
    the sum over the ``K``. An id has the same experts in every layer.

    Tables: ``random``; ``balanced`` (ids in order of frequency, each to the expert with the
    smallest load so far); ``clustered`` (k-means of the ids' mean features, one cluster per
    expert); ``dispersed`` (the ids of each cluster spread over all experts). ``prepare`` computes
    the last three from the training data; other ids are assigned as by ``random``, and so are an
    id's experts after the first.

    Source: Roller et al. 2021, 2106.04426: tables, and comparisons by bigram, previous token and
    position. Learned weights: DeepSeek-V4, as in NVIDIA's Megatron-LM, pull request 4481. Ours is
    that the first item of a group, which has no previous id, has its own in its place.

    Args:
        dim: ``D``, read by a gate only.
        k: experts per item, all different.
        by: what is looked up: the ``own`` id; the ``previous`` one of the group; a hash of both
            (``bigram``); or the ``position`` in the group, which needs no ids. The last two need
            ``table=random``.
        weighting: ``uniform``; or ``sqrt_softplus`` or ``sigmoid`` of a gate's scores, divided by
            their sum, which needs ``k`` of 2 or more.
        table: ``random``, ``balanced``, ``clustered`` or ``dispersed``.
        buckets: size of the table; ids are reduced modulo this.
        seed: random seed of the table.
        gate: scores the experts; unused if ``weighting`` is ``uniform``.

    >>> router = Hash(4, 8)
    >>> ids = torch.tensor([5, 7, 5])
    >>> expert = router(Items(torch.zeros(3, 4), ids=ids)).expert
    >>> bool(expert[0] == expert[2])
    True
    """

    traits = Traits(learned=False, needs_ids=True, has_logits=False)  # of the default options
    search_space = {"table": list(TABLES), "k": [1, 2]}

    table: Tensor
    ready: Tensor

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 1,
        by: str = "own",
        weighting: str = UNIFORM,
        table: str = "random",
        buckets: int = 65536,
        seed: int = 0,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        key = named("by", by, CONTENT_KEYS)
        self._assign = named("table", table, TABLES)  # private, as later changes would not matter
        if buckets < 1:
            raise OptionError("buckets", buckets, "an integer >= 1")
        if self._assign is not None and not key.in_data:
            raise OptionError("table", table, f"random with by={by}, as training ids say nothing")
        self.k, self.by, self.weighting = k, by, weighting
        self._seed = seed
        self.gate: Gate | None = None
        self.set_traits(
            needs_ids=key.needs_ids,
            per_item=self.traits.per_item and key.per_item,
            equivariant=self.traits.equivariant and key.equivariant,
            learned=weighting != UNIFORM,
            has_logits=weighting != UNIFORM,
        )
        if weighting != UNIFORM:
            named("weighting", weighting, {UNIFORM: None, **AFFINITIES})
            check_k_above_one(k, num_experts)
            self.gate = self.build_gate(gate)
        generator = seeded_generator(seed)
        first = torch.randint(num_experts, (buckets,), generator=generator)
        self.register_buffer("table", with_others(first, k, num_experts, generator).flatten())
        self.register_buffer("ready", torch.tensor(self._assign is None))

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        generator = seeded_generator(self._seed)
        buckets = len(self.table) // self.k
        first = torch.randint(self.num_experts, (buckets,), generator=generator)
        if self._assign is not None:
            counts, means = by_bucket(ids, features, buckets)
            seen = counts.nonzero().squeeze(1)
            first[seen] = self._assign(self.num_experts, counts[seen], means[seen], generator)
        self.table.copy_(with_others(first, self.k, self.num_experts, generator).flatten())
        self.ready.fill_(True)

    def take_experts(self, index: Sequence[int], heirs: Sequence[int] | None = None) -> "Hash":
        """Copies share the buckets of an expert; those of a removed one go to its heir, or all."""
        new = rebuilt(self, num_experts=len(index)).to(self.table.device).train(self.training)
        table = taken_from(self.table, self.num_experts, index, heirs).view(-1, self.k)
        new.table.copy_(made_different(table, len(index)).flatten())
        new.ready.copy_(self.ready)
        if self.gate is not None:
            new.gate = take_outputs(self.gate, index)
        return new

    def forward(self, items: Items) -> Routing:
        key = CONTENT_KEYS[self.by].of(items, "hash")
        if not holds(self.ready, _NOT_READY):
            raise ConfigError(_NOT_READY)
        table = self.table.view(-1, self.k)
        expert = table[key % len(table)]
        if self.gate is None:
            weight = torch.full_like(expert, 1 / self.k, dtype=items.x.dtype)
            return Routing.by_item(items, expert, weight, self.num_experts)
        affinity, logits = AFFINITIES[self.weighting], self.gate(items)
        weight = affinity.normalized(self.gate.pick(items, logits, expert))
        probs = affinity.normalized(logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits, probs=probs)
