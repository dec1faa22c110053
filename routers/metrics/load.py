"""Rows that each expert computes."""

from ._base import METRICS, LoadMetric


@METRICS.register("load")
class Load(LoadMetric):
    """Rows that each expert computed, after drops."""

    over_layers = None

    def compute(self) -> list[int]:
        return [int(rows) for rows in self.load]
