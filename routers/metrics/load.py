"""Metrics of the load."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import METRICS, RoutingMetric, total
from ._functional import load_cv, load_entropy, max_violation


class LoadMetric(RoutingMetric):
    """A metric that is computed from the load, before and after drops."""

    load: Tensor
    requested_load: Tensor

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts)
        self.add_counts("load", "requested_load", size=[num_experts])

    @torch.no_grad()
    def update(self, routing: Routing) -> None:
        self.load += routing.load
        self.requested_load += routing.requested_load


@METRICS.register("load")
class Load(LoadMetric):
    """Rows that each expert computed, after drops."""

    over_layers = None

    def compute(self) -> list[int]:
        return [int(rows) for rows in self.load]


@METRICS.register("cv")
class LoadCV(LoadMetric):
    """Coefficient of variation of the load; 0 at balance."""

    def compute(self) -> float:
        return load_cv(self.load)


@METRICS.register("max_violation")
class MaxViolation(LoadMetric):
    """``(max load - mean load) / mean load`` (Wang et al. 2024, 2408.15664); 0 at balance."""

    def compute(self) -> float:
        return max_violation(self.load)


@METRICS.register("entropy")
class LoadEntropy(LoadMetric):
    """Entropy of the load's distribution over ``log E``; 1 at balance."""

    def compute(self) -> float:
        return load_entropy(self.load)


@METRICS.register("dead_experts")
class DeadExperts(LoadMetric):
    """Number of experts that computed no row; summed over layers."""

    over_layers = staticmethod(total)

    def compute(self) -> int:
        return int((self.load == 0).sum())


@METRICS.register("dropped")
class Dropped(LoadMetric):
    """Fraction of the requested assignments that capacity dropped."""

    def compute(self) -> float:
        asked = int(self.requested_load.sum())
        return 1 - int(self.load.sum()) / asked if asked else 0.0
