"""Metrics of the items and their gates."""

import math

import torch
from torch import Tensor

from ..losses import entropies
from ..routing.routing import Routing
from ._base import METRICS, RoutingMetric


class ItemMetric(RoutingMetric):
    """A metric that is computed from sums over real items."""

    items: Tensor
    unrouted: Tensor
    entropy: Tensor
    margin: Tensor
    with_margin: Tensor

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts)
        self.add_counts("items", "unrouted", "with_margin")
        self.add_sum("entropy")
        self.add_sum("margin")

    @torch.no_grad()
    def update(self, routing: Routing) -> None:
        chosen = routing.unpadded(routing.candidate_mask)
        probs = routing.unpadded(routing.probs)
        self.items += len(chosen)
        self.unrouted += (~chosen.any(-1)).sum()
        self.entropy += entropies(probs).sum()
        margin = probs.masked_fill(~chosen, torch.inf).amin(-1)
        margin = margin - probs.masked_fill(chosen, -torch.inf).amax(-1)
        some_free = chosen.sum(-1) < self.num_experts  # an unfilled candidate is no expert
        both = margin.isfinite() & some_free
        self.margin += margin[both].sum()
        self.with_margin += both.sum()


@METRICS.register("items")
class NumItems(ItemMetric):
    """Number of real items."""

    over_layers = None

    def compute(self) -> int:
        return int(self.items)


@METRICS.register("unrouted")
class Unrouted(ItemMetric):
    """Fraction of real items that no expert worked on."""

    def compute(self) -> float:
        return int(self.unrouted) / max(int(self.items), 1)


@METRICS.register("gate_entropy")
class GateEntropy(ItemMetric):
    """Mean entropy of the items' gates over ``log E``; 0 where each item decides sharply."""

    def compute(self) -> float:
        widest = math.log(self.num_experts) if self.num_experts > 1 else 1.0
        return float(self.entropy) / max(int(self.items), 1) / widest


@METRICS.register("margin")
class Margin(ItemMetric):
    """Least chosen probability minus the largest other one, a mean over items.

    None where no item has both.
    """

    def compute(self) -> float | None:
        return float(self.margin) / int(self.with_margin) if self.with_margin else None
