"""Execution by a router's combiner: it computes an item's output from those of all its experts."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from routers import Routing
from routers.routing import Combine

from .._bank import Bank
from ..kernels.layouts import DispatchIndex
from .mix import combine_rows, execute, execution_flops


@execute.register
def _mix_combined(
    execution: Combine, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    index = DispatchIndex.by_expert(routing)
    return _combined(execution, bank.run(x, routing, index, mask), x, routing, index)


@combine_rows.register
def _combined(
    execution: Combine, out: Tensor, x: Tensor, routing: Routing, index: DispatchIndex
) -> Tensor:
    out = out.flatten(1).to(torch.promote_types(out.dtype, torch.float32))
    n, e, features = routing.num_items, routing.num_experts, x[:1].numel() or out.shape[1]
    pair = routing.item * e + routing.expert
    outputs = out.new_zeros(n * e, features)
    outputs = outputs.index_copy(0, pair.index_select(0, routing.order), out).view(n, e, features)
    weight = routing.weight.unsqueeze(-1).flatten(1).to(out.dtype)
    grid = weight.new_zeros(n * e, weight.shape[1]).index_add(0, pair, weight)
    per_task = grid.view(n, e, weight.shape[1]).unbind(-1)
    with torch.autocast(out.device.type, enabled=False):
        sums = [execution.combiner.combine(outputs, each) for each in per_task]
    y = sums[0] if routing.weight.dim() == 1 else torch.stack(sums)
    return y.to(x.dtype).view(*y.shape[:-2], *x.shape)


@execution_flops.register
def _combine_flops(
    execution: Combine, routing: Routing, bank: Bank, row_shape: Sequence[int]
) -> int:
    tasks = routing.weight.shape[1] if routing.weight.dim() > 1 else 1
    return tasks * execution.combiner.flops(routing.num_items, routing.num_experts, prod(row_shape))
