"""The contract of a metric of one routed layer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torchmetrics import Metric

from ..plugins.registry import Registry
from ..routing.routing import Routing

#: A metric's value: a number, one per expert, or None where nothing could be measured.
Value = float | int | list[int] | None


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def total(values: Sequence[float]) -> float:
    """Sum."""
    return sum(values)


class RoutingMetric(Metric, ABC):
    """A metric of one routed layer, accumulated over batches and ranks.

    Constructors add sum states with ``add_counts`` and ``add_sum``; ``update`` adds one routing
    to them. Classes that inherit one ``update`` share its sums, so each batch is summed once.

    Args:
        num_experts: ``E``.

    Class attributes:
        over_layers: combines the values of several layers into one for the whole network; None
            leaves the metric out of that summary.
    """

    full_state_update = False
    over_layers: "ClassVar[staticmethod[[Sequence[float]], float] | None]" = staticmethod(mean)

    def __init__(self, num_experts: int) -> None:
        super().__init__(compute_with_cache=False)  # metrics of a group are updated together
        self.num_experts = num_experts

    def add_counts(self, *names: str, size: Sequence[int] = ()) -> None:
        """Add int64 sums, since sums in float32 stick at 2^24."""
        for name in names:
            self.add_state(name, torch.zeros(tuple(size), dtype=torch.int64), dist_reduce_fx="sum")

    def add_sum(self, name: str) -> None:
        """Add a sum in float64."""
        self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def update(self, routing: Routing) -> None:
        """Add one routing."""

    @abstractmethod
    def compute(self) -> Value:
        """The value over everything added since the last reset."""


METRICS = Registry("metrics", RoutingMetric, group="switchyard.metrics", positional=1)
