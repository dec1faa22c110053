"""Outputs of experts combined by a router's rule."""

import torch
from torch import Tensor

from routers import Routing

from .._bank import Bank
from ..kernels.dispatch_index import DispatchIndex


def mix_ruled(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """Every expert's outputs side by side, and what ``routing.rule`` makes of them.

    Args:
        x: ``(N, ...)``.
        routing: with a rule.
        bank: the experts.
        mask: ``(N, L)`` bool, False at padding inside sequences; None where all is real.

    Returns:
        ``(N, ...)``, or ``(T, N, ...)`` where weights are for ``T`` tasks.
    """
    places = DispatchIndex.by_expert(routing)
    row_mask = None if mask is None else mask.index_select(0, places.source)
    out = bank(places.gather(x), routing.load, row_mask).flatten(1)
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    cell = (routing.item * routing.num_experts + routing.expert).index_select(0, routing.order)
    shape = (routing.num_items, routing.num_experts, x[:1].numel() or out.shape[1])
    outputs = out.new_zeros(shape[0] * shape[1], shape[2]).index_copy(0, cell, out)
    y = combined(outputs.view(shape), routing)
    return y.to(x.dtype).view(*y.shape[:-2], *x.shape)


def combined(outputs: Tensor, routing: Routing) -> Tensor:
    """Outputs ``(N, E, F)`` by the routing's rule: ``(N, F)``, or ``(T, N, F)``."""
    rule = routing.rule
    assert rule is not None
    weight = routing.weight.unsqueeze(-1).flatten(1).to(outputs.dtype)
    grid = weight.new_zeros(outputs.shape[0] * outputs.shape[1], weight.shape[1])
    grid = grid.index_add(0, routing.item * routing.num_experts + routing.expert, weight)
    per_task = grid.view(*outputs.shape[:2], weight.shape[1]).unbind(-1)
    with torch.autocast(outputs.device.type, enabled=False):
        y = [rule.combine(outputs, each) for each in per_task]
    return y[0] if routing.weight.dim() == 1 else torch.stack(y)
