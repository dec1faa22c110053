"""The engine in its slow and obvious form, for tests to compare with."""

from functools import singledispatch

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from routers import Routing
from routers.routing import Combine, Merge, Slots

from .._bank import Bank
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
            own = (routing.item == i).nonzero().squeeze(1).tolist()
            means = {
                name: sum(
                    weight[a, task].to(x.dtype) * bank.get_parameter(name)[routing.expert[a]]
                    for a in own
                )
                for name in bank.expert_parameters
            }
            one = {name: torch.as_tensor(mean).unsqueeze(0) for name, mean in means.items()}
            row_mask = None if mask is None else mask[i : i + 1]
            load = torch.ones(1, dtype=torch.int64)
            rows[i] = functional_call(bank, one, (x[i : i + 1], load, row_mask))[0]
        per_task.append(torch.stack(rows) if rows else torch.zeros_like(x))
    return per_task[0] if routing.weight.dim() == 1 else torch.stack(per_task)


@_execute.register
def _combined(
    execution: Combine, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    """Outputs one by one, and the combiner for one item at a time."""
    weight = routing.weight.unsqueeze(-1).flatten(1)
    experts = range(routing.num_experts)
    outputs = {(i, e): torch.zeros_like(row).flatten() for i, row in enumerate(x) for e in experts}
    weights = [{pair: weight.new_zeros(()) for pair in outputs} for _ in range(weight.shape[1])]
    for a, pair in enumerate(zip(routing.item.tolist(), routing.expert.tolist(), strict=True)):
        load = F.one_hot(routing.expert[a], routing.num_experts)
        row_mask = None if mask is None else mask[pair[0] : pair[0] + 1]
        outputs[pair] = bank(x[pair[0] : pair[0] + 1], load, row_mask)[0].flatten()
        for task, of_task in enumerate(weights):
            of_task[pair] = weight[a, task]
    per_task = []
    for of_task in weights:
        rows = [
            execution.combiner.combine(
                torch.stack([outputs[i, e] for e in experts]).unsqueeze(0),
                torch.stack([of_task[i, e] for e in experts]).unsqueeze(0),
            )
            for i in range(len(x))
        ]
        per_task.append(torch.cat(rows).view_as(x) if rows else torch.zeros_like(x))
    return per_task[0] if routing.weight.dim() == 1 else torch.stack(per_task)


def _sums(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None, size: int) -> Tensor:
    """Weighted sums over the assignments of each of ``size`` rows."""
    tasks = routing.weight.shape[1:]
    sums = [x.new_zeros(*tasks, *x.shape[1:]) for _ in range(size)]
    for a, i in enumerate(routing.item.tolist()):
        load = F.one_hot(routing.expert[a], routing.num_experts)
        row_mask = None if mask is None else mask[i : i + 1]
        out = bank(x[i : i + 1], load, row_mask)[0]
        weight = routing.weight[a].to(out.dtype)
        sums[i] = sums[i] + torch.tensordot(weight, out, 0)
    if not sums:
        return x.new_zeros(*tasks, *x.shape)
    return torch.stack(sums, dim=len(tasks))
