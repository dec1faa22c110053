"""Several rounds over one bank: items are routed again by the outputs of the round before."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError, Items, Router, Routing
from routers.blocks import uncompiled

from .._bank import Bank
from .joint import over_passes
from .moe import MoE
from .multi_gate import combined_traits, shared_list


class Rounds(Router):
    """The routers of the rounds of a layer, as one router.

    Each adapts to the load of that round alone. Called by itself, it routes as in the first round.

    >>> import routers
    >>> both = Rounds([routers.build("topk", 8, 4, k=k) for k in (2, 3)])
    >>> both(Items(torch.randn(5, 8))).num_assignments
    10
    """

    def __init__(self, rounds: Sequence[Router]) -> None:
        sizes = {(router.dim, router.num_experts) for router in rounds}
        if len(sizes) != 1:
            has = ", ".join(f"dim={d} num_experts={e}" for d, e in sorted(sizes)) or "none"
            raise ConfigError(f"rounds: expected routers of one size, got {has}")
        if len({*rounds}) < len(rounds):
            raise ConfigError("rounds: one router twice would adapt twice per step; copy it")
        super().__init__(*sizes.pop())
        self.rounds = nn.ModuleList(rounds)
        self.traits = combined_traits([router.traits for router in rounds])
        own = sum(router.num_counts for router in rounds)
        self.num_counts = own + self.num_experts * len(rounds) if self.adapts else 0

    def forward(self, items: Items) -> Routing:
        return self.each()[0](items)

    def each(self) -> list[Router]:
        """The routers, in the order of the rounds."""
        return [router for router in self.rounds if isinstance(router, Router)]

    def together(self, routings: Sequence[Routing]) -> Routing:
        """The routings of all rounds as one, with the load of each among its counts."""
        joint = over_passes(routings)
        if not self.num_counts:
            return joint
        counts = []
        for router, routing in zip(self.each(), routings, strict=True):
            counts.append(routing.requested_load)
            if router.num_counts:
                counts.append(routing.extras["counts"])
        return replace(joint, extras={**joint.extras, "counts": torch.cat(counts)})

    @property
    def adapts(self) -> bool:
        return any(router.adapts for router in self.each())

    def adapt_from_counts(self, counts: Tensor) -> None:
        for router in self.each():
            load, counts = counts.tensor_split([self.num_experts])
            router.adapt(load)
            if router.num_counts:
                own, counts = counts.tensor_split([router.num_counts])
                router.adapt_from_counts(own)

    def shared_with(self, before: Router) -> Router:
        if not isinstance(before, Rounds) or len(before.rounds) != len(self.rounds):
            raise ConfigError("router: two layers that share routers differ in their rounds")
        self.rounds = shared_list(self.each(), before.each())
        return before if self.each() == before.each() else self

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        for router in self.each():
            router.prepare(ids, features)


class RoundsMoE(MoE):
    """Items pass several times through one bank, by a router of each round.

    ``x_t = x_{t-1} + sum_e w_te(x_{t-1}) FFN_e(x_{t-1})`` from ``x_0 = x``, and the layer returns
    ``x_T - x``, to be added to its input as what ``MoE`` returns; with one round it is ``MoE``.
    Routers see the routings of earlier rounds as those of earlier layers. The routing is that of
    all rounds, ``gates`` those of single ones; load is work, summed over rounds.

    Source: Chain-of-Experts, 2506.18945, with a residual in each round; that shared experts work
    in every round is ours.

    Args:
        rounds: a router for each round, over all experts.
        bank: the experts.
        settings: as in ``MoE``, and the same in all rounds.

    >>> import experts, routers
    >>> rounds = [routers.build("topk", 8, 4) for _ in range(3)]
    >>> layer = RoundsMoE(rounds, experts.build("mlp", 8, 4))
    >>> y, routing = layer(torch.randn(5, 8))
    >>> routing.load.sum().item(), len(routing.gates)
    (30, 3)
    """

    def __init__(self, rounds: Sequence[Router], bank: Bank, **settings: Any) -> None:
        super().__init__(Rounds(rounds), bank, **settings)

    @property
    def each_router(self) -> list[Router]:
        assert isinstance(self.router, Rounds)
        return self.router.each()

    @uncompiled
    def forward(
        self, x: Tensor, *, earlier: Sequence[Routing] = (), **about: Tensor | None
    ) -> tuple[Tensor, Routing]:
        """As ``MoE.forward``; ``ConfigError`` for routers with weights for several tasks."""
        routings, inner, total = list[Routing](), x, torch.zeros_like(x)
        for router in self.each_router:
            y, routing = self._pass(inner, router, earlier=[*earlier, *routings], **about)
            if y.shape != x.shape:
                raise ConfigError(
                    f"{type(router).__name__} has weights for several tasks, and one output goes "
                    "into the next round; use one round"
                )
            inner, total = inner + y, total + y  # not inner - x, which rounds, and is NaN for NaN
            routings.append(routing)
        assert isinstance(self.router, Rounds)
        return total, self.router.together(routings)

    def expert_flops(self, load: Sequence[int], items: int, row_shape: Sequence[int]) -> int:
        return super().expert_flops(load, items * len(self.each_router), row_shape)
