"""Sharpness of each item's gate."""

import math

from ._base import METRICS, ItemMetric


@METRICS.register("gate_entropy")
class GateEntropy(ItemMetric):
    """Mean entropy of the items' gates over ``log E``; 0 where each item decides sharply."""

    def compute(self) -> float:
        widest = math.log(self.num_experts) if self.num_experts > 1 else 1.0
        return float(self.entropy) / max(int(self.items), 1) / widest
