"""Control: top-K with a frozen random gate."""

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, renormalized_weights, top_k
from .gates import GateSpec
from .routing import Items, Routing


@ROUTERS.register("random_fixed")
class RandomFixed(Router):
    """Control: each item selects the K best experts of a frozen random gate.

    Similar items share experts, but which ones is not learned. Source: the
    randomly initialized and fixed router of SMoE-Dropout, Chen et al. 2023, 2303.01610.

    Args:
        k: experts per item, weighted by the softmax over their scores.

    >>> router = RandomFixed(4, 8)
    >>> sum(p.numel() for p in router.parameters() if p.requires_grad)
    0
    """

    traits = Traits(learned=False)

    def __init__(
        self, dim: int, num_experts: int, *, k: int = 2, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        self.k = k
        self.gate = self.build_gate(gate).requires_grad_(False)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = top_k(logits, self.k)
        weight = renormalized_weights(logits.gather(1, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
