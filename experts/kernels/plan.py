"""Which layout a routing's rows are worked on in."""

import torch
from torch import Tensor

from routers import Routing

from .dispatch_index import DispatchIndex
from .gemm_cost import PRICES, base_rows, may_batch, tiers
from .layouts import Even, Layout, Ragged


def plan_for(routing: Routing, row_flops: int, x: Tensor) -> tuple[Layout, DispatchIndex]:
    """The cheapest layout for a routing, and where its rows lie there.

    - Expert choice and slots: every expert has the same number of rows, already in order. One
      batched product, nothing padded.
    - On a GPU: rows sorted by expert, through one grouped kernel that is told where experts end.
    - On a CPU: what the prices of products say. See ``base_rows``.

    Args:
        routing: without a blend.
        row_flops: what one row costs in one product.
        x: what is routed, for its device and dtype.
    """
    if routing.fan_in is not None:
        return Even(routing.num_experts, routing.fan_in), DispatchIndex.by_expert(routing)
    prices = PRICES.get(x.dtype)
    if x.device.type == "cpu" and prices is not None and routing.num_assignments:
        shape = (routing.num_experts, routing.num_assignments)
        if prices.rounded or may_batch(*shape, row_flops, prices):
            load = routing.load.numpy()
            base = base_rows(load, row_flops, prices)
            if prices.rounded or base:
                layout, row = tiers(load, base, prices)
                return layout, DispatchIndex.at_rows(routing, torch.from_numpy(row), layout.size)
    return Ragged(routing.load), DispatchIndex.by_expert(routing)


def sorted_layout(load: Tensor) -> Layout:
    """Of rows that lie sorted by expert, ``load`` ``(E,)`` of each."""
    if load.device.type == "cpu" and load.min() == load.max():
        return Even(len(load), int(load[0]))
    return Ragged(load)
