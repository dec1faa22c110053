"""The engine once more, slow and obvious, for tests to compare with."""

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from routers import Routing

from .._bank import Bank


def mix_reference(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None = None) -> Tensor:
    """What ``mix`` computes, one assignment after the other; same arguments and result."""
    if routing.merge is not None:
        return _merged(x, routing, bank, mask)
    if routing.rule is not None:
        return _ruled(x, routing, bank, mask)
    if routing.blend is None:
        return _one_by_one(x, routing, bank, mask, routing.num_items)
    blend = routing.blend
    if mask is None:
        slots = _one_by_one(blend.gather(x), routing, bank, None, blend.num_slots)
        return blend.scatter(slots)
    real = mask.unsqueeze(-1).to(x.dtype)
    # all items of a group share its slots, so a slot is as long as the longest of them
    longest = blend.gather(real).squeeze(-1) > 0
    slots = _one_by_one(blend.gather(x * real), routing, bank, longest, blend.num_slots)
    return blend.scatter(slots) * real


def _one_by_one(
    x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None, num_items: int
) -> Tensor:
    tasks = routing.weight.shape[1:]
    sums = [x.new_zeros(*tasks, *x.shape[1:]) for _ in range(num_items)]
    for a, i in enumerate(routing.item.tolist()):
        load = F.one_hot(routing.expert[a], routing.num_experts)
        row_mask = None if mask is None else mask[i : i + 1]
        out = bank(x[i : i + 1], load, row_mask)[0]
        weight = routing.weight[a].to(out.dtype)
        sums[i] = sums[i] + torch.tensordot(weight, out, 0)
    if not sums:
        return x.new_zeros(*tasks, *x.shape)
    return torch.stack(sums, dim=len(tasks))


def _merged(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """Item by item a bank of one expert, of the means that the item's own weights say."""
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


def _ruled(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """Outputs one by one, and the rule for one item after the other."""
    assert routing.rule is not None
    weight = routing.weight.unsqueeze(-1).flatten(1)
    experts = range(routing.num_experts)
    said = {(i, e): torch.zeros_like(row).flatten() for i, row in enumerate(x) for e in experts}
    say = [{pair: weight.new_zeros(()) for pair in said} for _ in range(weight.shape[1])]
    for a, pair in enumerate(zip(routing.item.tolist(), routing.expert.tolist(), strict=True)):
        load = F.one_hot(routing.expert[a], routing.num_experts)
        row_mask = None if mask is None else mask[pair[0] : pair[0] + 1]
        said[pair] = bank(x[pair[0] : pair[0] + 1], load, row_mask)[0].flatten()
        for task, own in enumerate(say):
            own[pair] = weight[a, task]
    per_task = []
    for own in say:
        rows = [
            routing.rule.combine(
                torch.stack([said[i, e] for e in experts]).unsqueeze(0),
                torch.stack([own[i, e] for e in experts]).unsqueeze(0),
            )
            for i in range(len(x))
        ]
        per_task.append(torch.cat(rows).view_as(x) if rows else torch.zeros_like(x))
    return per_task[0] if routing.weight.dim() == 1 else torch.stack(per_task)
