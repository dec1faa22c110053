"""Number of items."""

from ._base import METRICS, ItemMetric


@METRICS.register("items")
class NumItems(ItemMetric):
    """Number of real items."""

    over_layers = None

    def compute(self) -> int:
        return int(self.items)
