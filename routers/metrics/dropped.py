"""Assignments that capacity drops."""

from ._base import METRICS, LoadMetric


@METRICS.register("dropped")
class Dropped(LoadMetric):
    """Fraction of the requested assignments that capacity dropped."""

    def compute(self) -> float:
        asked = int(self.requested_load.sum())
        return 1 - int(self.load.sum()) / asked if asked else 0.0
