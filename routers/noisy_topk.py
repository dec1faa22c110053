"""Noisy top-K gating."""

from ._router import ROUTERS, Router, Traits
from .blocks import NoisyScores, check_k_above_one, renormalized_weights, top_k, top_k_probability
from .gates import GateSpec
from .routing import Items, Routing


@ROUTERS.register("noisy_topk")
class NoisyTopK(Router):
    """Each item selects the K experts with the highest scores after learned noise is added.

    ``H = h + N(0, 1) softplus(x Wn)``; weights are the softmax over the kept K of ``H``.
    Source: Shazeer et al. 2017, 1701.06538, equations 3 to 5; the expected load is
    equations 8 to 10. Noise is drawn in training only.

    Args:
        k: experts per item, >= 2.

    >>> import torch
    >>> router = NoisyTopK(4, 8, k=2)
    >>> round(router(Items(torch.randn(5, 4))).weight.sum().item(), 4)
    5.0
    """

    traits = Traits(expects_load=True)
    search_space = {"k": [2, 4]}
    default_losses = {"importance": 0.1, "load": 0.1}

    def __init__(
        self, dim: int, num_experts: int, *, k: int = 2, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        check_k_above_one(k, num_experts)
        self.k = k
        self.scores = NoisyScores(self.build_gate(gate), dim, num_experts)

    def forward(self, items: Items) -> Routing:
        scores = self.scores(items)
        expert = top_k(scores.noisy, self.k)
        chance = top_k_probability(scores, self.k)
        return Routing.by_item(
            items,
            expert,
            renormalized_weights(scores.noisy.gather(1, expert), scores.noisy),
            self.num_experts,
            logits=scores.noisy,
            expected_load=items.unpadded(chance).sum(0),
        )
