"""Variation of the load."""

from ._base import METRICS, LoadMetric
from ._functional import load_cv


@METRICS.register("cv")
class LoadCV(LoadMetric):
    """Coefficient of variation of the load; 0 at balance."""

    def compute(self) -> float:
        return load_cv(self.load)
