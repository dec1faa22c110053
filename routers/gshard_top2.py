"""The best expert always, the second by chance."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import renormalized_weights, top_k
from .gates import GateSpec, pick
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("gshard_top2")
class GShardTop2(Router):
    """Every item takes its best expert, and its second best as often as that one matters.

    ``g1, g2`` are the two largest of ``softmax(h)`` over their sum. In training the second expert
    works with probability ``min(1, 2 g2)``, in eval always. ``g1`` and ``g2`` stay as they are
    where it does not, so an item's weights then sum to ``g1``.

    Source: GShard, Lepikhin et al. 2020, 2006.16668, algorithm 1.

    Args:
        dim: ``D``.
        num_experts: ``E``, 2 or more.
        gate: what scores the experts.

    >>> router = GShardTop2(4, 8).eval()
    >>> routing = router(Items(torch.randn(100, 4)))
    >>> routing.num_assignments, round(routing.weight.sum().item(), 3)
    (200, 100.0)
    >>> router.train()(Items(torch.randn(100, 4))).num_assignments < 200
    True
    """

    traits = Traits(convex=False)
    default_losses: ClassVar[Mapping[str, float]] = {"switch": 0.01}

    def __init__(self, dim: int, num_experts: int, *, gate: GateSpec = "linear") -> None:
        super().__init__(dim, num_experts)
        if num_experts < 2:
            raise OptionError("num_experts", num_experts, "an integer of at least 2")
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = top_k(logits, 2)
        weight = renormalized_weights(pick(self.gate, items, logits, expert), logits)
        return Routing.by_item(
            items,
            expert,
            weight,
            self.num_experts,
            keep=_drawn(weight) if self.training else None,
            logits=logits,
            experts_per_item=2.0,
        )


def _drawn(weight: Tensor) -> Tensor:
    """The best expert always, the second by chance, ``(N, 2)`` bool."""
    keep = 2 * weight > torch.rand_like(weight)
    keep[:, 0] = True
    return keep
