"""Excess load of the busiest expert."""

from ._base import METRICS, LoadMetric
from ._functional import max_violation


@METRICS.register("max_violation")
class MaxViolation(LoadMetric):
    """``(max load - mean load) / mean load`` (Wang et al. 2024, 2408.15664); 0 at balance."""

    def compute(self) -> float:
        return max_violation(self.load)
