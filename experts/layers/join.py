"""The routings of several gates as one: an expert works once on an item for all of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, Items, Routing

from .topology import GateTopology


def join(items: Items, routings: Sequence[Routing], wiring: GateTopology) -> Routing:
    """The union of the gates' assignments, with one weight per gate.

    Where several gates choose one expert for one item there is one assignment, which each of
    them weighs. ``probs`` is the mean of the gates' distributions, ``expected_load`` and
    ``importance`` are sums; what gates dropped by themselves is in ``before``. Tallies lie
    one after the other. What else losses read of a single gate they find in ``gates``.

    Args:
        items: what was routed.
        routings: one per gate, of the same items, over the experts of its branch.
        wiring: which experts those are.

    Returns:
        A routing over all ``E`` experts, by expert and then item, with weight ``(A, G)``; of
        blends a blend in which every gate has slots of its own.

    Raises:
        ConfigError: for blends where gates differ in stream or experts.
    """
    index = [torch.tensor(branch.experts, device=items.x.device) for branch in wiring.branches]
    combine = _union if all(r.blend is None for r in routings) else _side_by_side
    merges = [r.merge for r in routings if r.merge is not None]
    rules = [r.rule for r in routings if r.rule is not None]
    one_stream = len({*wiring.sources, *(branch.reads for branch in wiring.branches)}) == 1
    alike = len(merges) in (0, len(routings)) and rules in ([], rules[:1] * len(routings))
    _refuse(
        (merges or rules) and not (one_stream and alike),
        "its experts make each output together, by one rule",
    )
    scales = [r.log_partition for r in routings if r.log_partition is not None]
    columns = [scale.unsqueeze(-1).flatten(1) for scale in scales]  # (N, 1), or (N, H) for heads
    tallies = [r.counts for r in routings if r.counts is not None]
    return replace(
        combine(items, routings, wiring, index),
        given_probs=_total([r.to_dense(r.probs) for r in routings], index, wiring) / len(routings),
        given_log_partition=torch.cat(columns, 1) if len(columns) == len(routings) else None,
        counts=torch.cat(tallies) if tallies else None,
        merge=_placed(merges, index, wiring) if merges else None,
        rule=rules[0] if rules else None,
        gates=tuple(routings),
    )


def _union(
    items: Items, routings: Sequence[Routing], wiring: GateTopology, index: Sequence[Tensor]
) -> Routing:
    n, cells = len(items), wiring.num_experts * len(items)
    chosen = [of[r.expert] * n + r.item for r, of in zip(routings, index, strict=True)]
    exists = torch.zeros(cells, dtype=torch.bool, device=items.x.device)
    for cell in chosen:
        exists[cell] = True
    kept = exists.nonzero().squeeze(1)
    place = exists.cumsum(0) - 1
    weight = [
        r.weight.new_zeros(len(kept)).index_add(0, place[cell], r.weight)
        for r, cell in zip(routings, chosen, strict=True)
    ]
    expected = [r.expected_load for r in routings if r.expected_load is not None]
    joint = Routing(
        kept % max(n, 1),
        kept // max(n, 1),
        torch.stack(weight, 1),
        n,
        wiring.num_experts,
        groups=items.groups,
        mask=items.mask,
        expected_load=_total(expected, index, wiring) if len(expected) == len(routings) else None,
        fan_in=n if len(kept) == cells else None,
        is_dense=len(kept) == cells,
    )
    if all(r.before is None for r in routings):
        return joint
    asked = [r if r.before is None else r.before for r in routings]
    before = _union(items, asked, wiring, index)
    return replace(joint, requested=before.load, given_importance=before.importance, before=before)


def _side_by_side(
    items: Items, routings: Sequence[Routing], wiring: GateTopology, index: Sequence[Tensor]
) -> Routing:
    """Every expert gets the slots that each gate has for it."""
    blends = [r.blend for r in routings if r.blend is not None]
    streams = {*wiring.sources, *(branch.reads for branch in wiring.branches)}
    alike = len(streams) == 1 and all(len(of) == wiring.num_experts for of in index)
    _refuse(
        not alike or len(blends) < len(routings),
        "its experts work on slots, each a mean of one stream's items",
    )
    order = [of.argsort() for of in index]
    dispatch = [
        _by_expert(b.dispatch, wiring)[:, :, of] for b, of in zip(blends, order, strict=True)
    ]
    combine = [_by_expert(b.combine, wiring)[:, :, of] for b, of in zip(blends, order, strict=True)]
    sizes = [slots.shape[-1] for slots in combine]
    apart = [
        F.pad(own, (sum(sizes[:gate]), sum(sizes[gate + 1 :]))) for gate, own in enumerate(combine)
    ]
    return Routing.by_slot(
        items,
        torch.cat(dispatch, -1).flatten(2),
        torch.stack(apart).flatten(3),
        wiring.num_experts,
    )


def _refuse(wrong: object, why: str) -> None:
    if wrong:
        raise ConfigError(
            f"router: {why}, so it fits only where all gates and experts use one stream and every "
            "gate has every expert, as in mmoe; choose a router that sends items to experts, "
            "such as topk"
        )


def _by_expert(slots: Tensor, wiring: GateTopology) -> Tensor:
    """``(..., S)`` as ``(..., E, S / E)``."""
    each = slots.shape[-1] // wiring.num_experts
    return slots.view(*slots.shape[:-1], wiring.num_experts, each)


def _total(parts: Sequence[Tensor], index: Sequence[Tensor], wiring: GateTopology) -> Tensor:
    """``(..., E_g)`` of each gate's own experts, placed among all ``E`` and summed."""
    return _placed(parts, index, wiring).sum(0)


def _placed(parts: Sequence[Tensor], index: Sequence[Tensor], wiring: GateTopology) -> Tensor:
    """The same of each gate, one after the other."""
    grids = [
        part.new_zeros(*part.shape[:-1], wiring.num_experts).index_copy(-1, of, part)
        for part, of in zip(parts, index, strict=True)
    ]
    return torch.stack(grids)
