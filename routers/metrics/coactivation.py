"""Metric of experts that work on the same items."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import METRICS, RoutingMetric

#: Most experts of a layer whose pairs are counted; more would take much memory.
MAX_EXPERTS = 512


@METRICS.register("coactivation")
class CoActivation(RoutingMetric):
    """Share of an expert's items that its most frequent partner has, a mean over assignments.

    0 if every item has one expert, 1 if experts work only in fixed groups; None in layers of more
    than 512 experts, whose pairs are not counted. After drops. Source: the co-activation of
    Muennighoff et al. 2024, 2409.02060, section 5.2; ``routers.comparison`` has all pairs.
    """

    over_layers = None
    pairs: Tensor

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts)
        counted = num_experts if num_experts <= MAX_EXPERTS else 0
        self.add_counts("pairs", size=[counted, counted])

    @torch.no_grad()
    def update(self, routing: Routing) -> None:
        if self.num_experts <= MAX_EXPERTS:
            assigned = routing.unpadded(routing.assigned_mask).float()  # exact below 2^24 items
            self.pairs += (assigned.t() @ assigned).round().long()

    def compute(self) -> float | None:
        if self.num_experts > MAX_EXPERTS:
            return None
        load = int(self.pairs.trace())
        others = self.pairs - torch.diag(self.pairs.diagonal())
        return int(others.amax(1).sum()) / load if load else 0.0
