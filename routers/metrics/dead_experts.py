"""Experts that compute nothing."""

from ._base import METRICS, LoadMetric, total


@METRICS.register("dead_experts")
class DeadExperts(LoadMetric):
    """Number of experts that computed no row; summed over layers."""

    over_layers = staticmethod(total)

    def compute(self) -> int:
        return int((self.load == 0).sum())
