"""GShard top-2: the second expert is sampled in training."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import renormalized_weights, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("gshard_top2")
class GShardTop2(Router):
    """Each item selects its best expert, and its second best with a probability by weight.

    ``g1, g2`` are the two largest of ``softmax(h)`` over their sum. The second expert is used
    with probability ``min(1, 2 g2)`` in training, always in eval. Weights are not renormalized
    if it is skipped, so that they sum to ``g1``.

    Source: GShard, Lepikhin et al. 2020, 2006.16668, algorithm 1.

    Args:
        num_experts: ``E``, >= 2.

    >>> router = GShardTop2(4, 8).eval()
    >>> routing = router(Items(torch.randn(100, 4)))
    >>> routing.num_assignments, round(routing.weight.sum().item(), 3)
    (200, 100.0)
    >>> router.train()(Items(torch.randn(100, 4))).num_assignments < 200
    True
    """

    traits = Traits(convex=False)
    default_losses = {"switch": 0.01}

    def __init__(self, dim: int, num_experts: int, *, gate: GateSpec = "linear") -> None:
        super().__init__(dim, num_experts)
        if num_experts < 2:
            raise OptionError("num_experts", num_experts, "an integer >= 2")
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = top_k(logits, 2)
        weight = renormalized_weights(self.gate.pick(items, logits, expert), logits)
        return Routing.by_item(
            items,
            expert,
            weight,
            self.num_experts,
            keep=_sampled(weight) if self.training else None,
            logits=logits,
            experts_per_item=2.0,
        )


def _sampled(weight: Tensor) -> Tensor:
    """Mask of the used experts, ``(N, 2)``: the best one, and a sample of the second ones."""
    keep = 2 * weight > torch.rand_like(weight)
    keep[:, 0] = True
    return keep
