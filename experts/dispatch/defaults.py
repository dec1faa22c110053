"""Execution in which mean outputs stand in for experts that an item is not assigned to."""

from collections.abc import Sequence

from torch import Tensor

from routers import Routing
from routers.routing import Defaults

from .._bank import Bank
from ..kernels.layouts import DispatchIndex
from .mix import execute, execution_flops


@execute.register
def _mix_with_defaults(
    execution: Defaults, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    index = DispatchIndex.by_expert(routing)
    out = bank.run(x, routing, index, mask)
    y = index.combine(out, routing.weight)
    absent = routing.probs.masked_fill(routing.assigned_mask, 0.0)
    if routing.mask is not None:
        absent = absent.masked_fill(~routing.mask.unsqueeze(1), 0.0)
    rest = (absent @ execution.outputs.means.to(absent.dtype)).to(x.dtype)
    axis = 1 + bank.row_axes.index("D")
    rest = rest.view([size if a in (0, axis) else 1 for a, size in enumerate(x.shape)])
    if mask is not None:
        rest = rest * mask.unsqueeze(-1)
    row_mask = None if mask is None else mask.index_select(0, index.source)
    ordered = routing.expert.index_select(0, routing.order)
    execution.outputs.record(ordered, bank.pool(out.detach(), row_mask))
    return (y + rest).to(x.dtype)


@execution_flops.register
def _defaults_flops(
    execution: Defaults, routing: Routing, bank: Bank, row_shape: Sequence[int]
) -> int:
    return 2 * routing.num_items * routing.num_experts * bank.dim
