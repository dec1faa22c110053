"""Entropy of the load."""

from ._base import METRICS, LoadMetric
from ._functional import load_entropy


@METRICS.register("entropy")
class LoadEntropy(LoadMetric):
    """Entropy of the load's distribution over ``log E``; 1 at balance."""

    def compute(self) -> float:
        return load_entropy(self.load)
