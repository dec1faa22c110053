"""The engine in its slow and obvious form, for tests to compare with."""

from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import Routing
from routers.routing import Combine, Defaults, Merge, Slots

from .._bank import Bank
from .merge import with_parameters
from .slots import to_items, to_slots


def mix_reference(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None = None) -> Tensor:
    """Compute what ``mix`` computes, one assignment at a time; same arguments and result."""
    return _execute(routing.execution, x, routing, bank, mask)


@singledispatch
def _execute(
    execution: object, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    return _sums(x, routing, bank, mask, routing.num_items)


@_execute.register
def _through_slots(
    slots: Slots, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    if mask is None:
        return to_items(_sums(to_slots(x, slots), routing, bank, None, slots.num_slots), slots)
    real = mask.unsqueeze(-1).to(x.dtype)
    # all items of a group share its slots, so a slot is as long as the longest of them
    longest = to_slots(real, slots).squeeze(-1) > 0
    rows = _sums(to_slots(x * real, slots), routing, bank, longest, slots.num_slots)
    return to_items(rows, slots) * real


@_execute.register
def _merged(merge: Merge, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """Item by item, a bank of one expert whose parameters are means by the item's weights."""
    weight = routing.weight.unsqueeze(-1).flatten(1)
    per_task = []
    for task in range(weight.shape[1]):
        rows = [torch.zeros_like(row) for row in x]
        for i in sorted(set(routing.item.tolist())):
            own = routing.item == i
            means = {}
            for name in bank.expert_parameters:
                stack = bank.get_parameter(name)
                parameters = stack[routing.expert[own]]
                means[stack] = torch.tensordot(weight[own, task].to(x.dtype), parameters, 1)[None]
            row_mask = None if mask is None else mask[i : i + 1]
            load = torch.ones(1, dtype=torch.int64)
            rows[i] = with_parameters(bank, means)(x[i : i + 1], load, row_mask)[0]
        per_task.append(torch.stack(rows) if rows else torch.zeros_like(x))
    return per_task[0] if routing.weight.dim() == 1 else torch.stack(per_task)


@_execute.register
def _combined(
    execution: Combine, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    """Outputs one by one, and the combiner for one item at a time."""
    weight = routing.weight.unsqueeze(-1).flatten(1)
    outputs = x.new_zeros(len(x), routing.num_experts, x[:1].numel())
    weights = weight.new_zeros(len(x), routing.num_experts, weight.shape[1])
    for a, (i, e) in enumerate(zip(routing.item.tolist(), routing.expert.tolist(), strict=True)):
        outputs[i, e] = _output(a, x, routing, bank, mask).flatten()
        weights[i, e] = weight[a]
    per_task = []
    for of_task in weights.unbind(-1):
        pairs = zip(torch.split(outputs, 1), torch.split(of_task, 1), strict=True)
        rows = [execution.combiner.combine(*pair) for pair in pairs if len(x)]
        per_task.append(torch.cat(rows).view_as(x) if rows else torch.zeros_like(x))
    return per_task[0] if routing.weight.dim() == 1 else torch.stack(per_task)


@_execute.register
def _with_defaults(
    execution: Defaults, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    """Mean outputs one by one, at each inner position of an item that is not padding."""
    pairs = set(zip(routing.item.tolist(), routing.expert.tolist(), strict=True))
    axis = bank.row_axes.index("D")
    sums = [x.new_zeros(x.shape[1:]) for _ in x]
    for i in range(len(x)):
        for e in range(routing.num_experts):
            if (i, e) not in pairs and (routing.mask is None or routing.mask[i]):
                mean = routing.probs[i, e].to(x.dtype) * execution.outputs.means[e].to(x.dtype)
                row = mean.view([-1 if a == axis else 1 for a in range(x.dim() - 1)])
                real = 1 if mask is None else mask[i].unsqueeze(-1)
                sums[i] = sums[i] + row * real
    return _sums(x, routing, bank, mask, len(x)) + (torch.stack(sums) if sums else 0)


def _sums(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None, size: int) -> Tensor:
    """Weighted sums over the assignments of each of ``size`` rows."""
    tasks = routing.weight.shape[1:]
    sums = [x.new_zeros(*tasks, *x.shape[1:]) for _ in range(size)]
    for a, i in enumerate(routing.item.tolist()):
        out = _output(a, x, routing, bank, mask)
        weight = routing.weight[a].to(out.dtype)
        sums[i] = sums[i] + torch.tensordot(weight, out, 0)
    if not sums:
        return x.new_zeros(*tasks, *x.shape)
    return torch.stack(sums, dim=len(tasks))


def _output(a: int, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """The output of assignment ``a``: its expert on its row alone."""
    row = routing.item[a : a + 1]
    load = F.one_hot(routing.expert[a], routing.num_experts)
    out: Tensor = bank(x[row], load, None if mask is None else mask[row])[0]
    return out
