"""Items that no expert works on."""

from ._base import METRICS, ItemMetric


@METRICS.register("unrouted")
class Unrouted(ItemMetric):
    """Fraction of real items that no expert worked on."""

    def compute(self) -> float:
        return int(self.unrouted) / max(int(self.items), 1)
