"""The engine once more, slow and obvious, for tests to compare with."""

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import Routing

from ._bank import Bank


def mix_reference(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None = None) -> Tensor:
    """What ``mix`` computes, one assignment after the other; same arguments and result."""
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
