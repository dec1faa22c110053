"""Top-K with batch priority: a capacity that drops the items with the smallest weights."""

import math

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import NoisyLogits, build_weighting, check_k, top_k, top_k_probability
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("batch_priority")
class BatchPriority(Router):
    """Each item selects its K best experts; experts over capacity drop the least confident items.

    ``TopK(softmax(h + N(0, 1 / E^2)))``, noise in training only. Each expert has
    ``ceil(capacity * K * n / E)`` places in a group of ``n`` items: first choices precede second
    choices, and items are ordered by their largest weight. So unimportant items are dropped,
    whereas ``moe.drop=position`` drops late ones. Dropping depends on the whole group, so causal
    tasks reject this router.

    Source: V-MoE, Riquelme et al. 2021, 2106.05974, equation 2 and section 4.1.

    Args:
        capacity: places relative to an even load, > 0.
        weighting: ``probability``, or ``renormalized`` (over the K before dropping; needs
            ``k >= 2``).

    >>> router = BatchPriority(4, 2, k=1, capacity=0.5)
    >>> routing = router(Items(torch.randn(8, 4)))
    >>> routing.load.max().item(), routing.requested_load.sum().item()  # ceil(0.5 * 8 / 2) places
    (2, 8)
    """

    traits = Traits(per_item=False, causal=False, convex=False, expects_load=True)
    not_static = "the number of assignments that it drops varies"
    search_space = {"k": [2, 4], "capacity": [0.5, 1.05, 2.0]}
    default_losses = {"importance": 0.005, "load": 0.005}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        capacity: float = 1.05,
        weighting: str = "probability",
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 < capacity < math.inf:
            raise OptionError("capacity", capacity, "a finite number > 0")
        self.k = k
        self.capacity = capacity
        self.weighting = build_weighting(k, weighting)
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        clean = self.gate(items)
        std = torch.full_like(clean, 1 / self.num_experts)
        noisy = clean + torch.randn_like(clean) * std if self.training else clean
        expert = top_k(noisy, self.k)
        chance = top_k_probability(NoisyLogits(clean, noisy, std), self.k)
        return Routing.by_item(
            items,
            expert,
            self.weighting.weigh(noisy.gather(1, expert), noisy),
            self.num_experts,
            logits=noisy,
            expected_load=items.unpadded(chance).sum(0),
        ).limit(self.capacity, "batch_priority")
