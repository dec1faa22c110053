"""The routings of several gates as one: an expert works once on an item for all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from routers import Items, Routing

from ._wiring import Wiring


def join(items: Items, routings: Sequence[Routing], wiring: Wiring) -> Routing:
    """The union of the gates' assignments, with one weight per gate.

    Where several gates choose one expert for one item there is one assignment, which each of
    them weighs. ``probs`` is the mean of the gates' distributions, ``expected_load`` and
    ``importance`` are sums; what gates dropped by themselves counts as asked for.

    Args:
        items: what was routed.
        routings: one per gate, of the same items, over the experts of its branch.
        wiring: which experts those are.

    Returns:
        A routing over all ``E`` experts, by expert and then item, with weight ``(A, G)``.
    """
    n, e = len(items), wiring.num_experts
    index = [torch.tensor(branch.experts, device=items.x.device) for branch in wiring.branches]
    cells = [of[r.expert] * n + r.item for r, of in zip(routings, index, strict=True)]
    exists = torch.zeros(e * n, dtype=torch.bool, device=items.x.device)
    for cell in cells:
        exists[cell] = True
    kept = exists.nonzero().squeeze(1)
    place = exists.cumsum(0) - 1
    weight = [
        r.weight.new_zeros(len(kept)).index_add(0, place[cell], r.weight)
        for r, cell in zip(routings, cells, strict=True)
    ]
    complete = len(kept) == e * n
    expected = [r.expected_load for r in routings if r.expected_load is not None]
    return Routing(
        kept % max(n, 1),
        kept // max(n, 1),
        torch.stack(weight, 1),
        n,
        e,
        groups=items.groups,
        mask=items.mask,
        given_probs=_sum([r.probs for r in routings], index, e) / len(routings),
        expected_load=_sum(expected, index, e) if len(expected) == len(routings) else None,
        fan_in=n if complete else None,
        complete=complete,
    )


def _sum(parts: Sequence[Tensor], index: Sequence[Tensor], num_experts: int) -> Tensor:
    """``(..., E_g)`` of each gate's own experts, placed among all ``E`` and summed."""
    grids = [
        part.new_zeros(*part.shape[:-1], num_experts).index_copy(-1, of, part)
        for part, of in zip(parts, index, strict=True)
    ]
    return torch.stack(grids).sum(0)
