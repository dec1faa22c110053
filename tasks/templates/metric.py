"""A metric of routed layers: a number in result.json, for each layer and for all."""

import torch
from torch import Tensor

from routers import METRICS, Routing, RoutingMetric


@METRICS.register("my_metric")
class MyMetric(RoutingMetric):
    """Share of the experts that received at least one row.

    Replace this by what your metric does: lists show the first line of a docstring.

    >>> from routers import Items
    >>> metric = MyMetric(num_experts=4)
    >>> expert, weight = torch.tensor([[0], [0], [2]]), torch.ones(3, 1)
    >>> metric.update(Routing.by_item(Items(weight), expert, weight, num_experts=4))
    >>> metric.compute()
    0.5
    """

    rows: Tensor
    # The values of several layers are averaged: over_layers = None leaves the metric out of that.

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts)
        # Sums over batches, which several processes add up: integers, or add_sum for floats.
        self.add_counts("rows", size=[num_experts])

    @torch.no_grad()
    def update(self, routing: Routing) -> None:
        """Add the routing of one batch."""
        self.rows += routing.load

    def compute(self) -> float:
        """The value over everything added: a number, or a list with one for each expert."""
        return float((self.rows > 0).double().mean())
