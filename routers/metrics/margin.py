"""Distance between chosen and other experts."""

from ._base import METRICS, ItemMetric


@METRICS.register("margin")
class Margin(ItemMetric):
    """Least chosen probability minus the largest other one, a mean over items.

    None where no item has both.
    """

    def compute(self) -> float | None:
        return float(self.margin) / int(self.with_margin) if self.with_margin else None
