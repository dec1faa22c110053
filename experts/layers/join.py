"""Join the routings of several gates: an expert works once on an item for all gates."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, Items, Routing
from routers.routing import Combine, Defaults, Merge, Slots

from .topology import GateTopology


def join(items: Items, routings: Sequence[Routing], topology: GateTopology) -> Routing:
    """The union of the gates' assignments, by expert and then item, with weight ``(A, G)``.

    If several gates assign one expert to one item, there is one assignment with a weight for
    each of them. ``probs`` is the mean of the gates' distributions, ``expected_load`` and
    ``importance`` are sums; assignments that gates dropped themselves are in ``before``. Counts
    are concatenated. Losses find everything else that belongs to a single gate in ``gates``. For
    slots, every gate has its own slots of each expert.

    ``routings`` are one per gate, of the same items, over the experts of its branch.

    Raises:
        ConfigError: if experts work on slots or make outputs together, and gates differ in
            stream, experts or form of execution.
    """
    index = [torch.tensor(branch.experts, device=items.x.device) for branch in topology.branches]
    probs = _placed([r.to_dense(r.probs) for r in routings], index, topology).sum(0)
    probs = probs / len(routings)
    if any(isinstance(r.execution, Slots) for r in routings):
        joint = _joint_slots(items, routings, topology, index, probs)
    else:
        execution = _joint_execution(routings, topology, index)
        joint = replace(_union(items, routings, topology, index), execution=execution)
    scales = [r.log_partition for r in routings if r.log_partition is not None]
    counts = [r.extras["counts"] for r in routings if "counts" in r.extras]
    extras = {}
    if len(scales) == len(routings):  # (N, 1) of a gate, or (N, H) of its heads
        extras["log_partition"] = torch.cat([each.unsqueeze(-1).flatten(1) for each in scales], 1)
    if counts:
        extras["counts"] = torch.cat(counts)
    return replace(joint, given_probs=probs, extras=extras, gates=tuple(routings))


def _joint_execution(
    routings: Sequence[Routing], topology: GateTopology, index: Sequence[Tensor]
) -> Merge | Combine | None:
    """The form of execution of the gates together: all merge, or all combine alike."""
    forms = [r.execution for r in routings]
    if all(form is None for form in forms):
        return None
    if any(isinstance(form, Defaults) for form in forms):
        raise ConfigError(
            "router: mean outputs stand in for experts that its gate does not select, which works "
            "with one gate only; choose a router such as topk"
        )
    merges = [form.weight for form in forms if isinstance(form, Merge)]
    combines = [form for form in forms if isinstance(form, Combine)]
    alike = len(merges) == len(forms) or forms == combines[:1] * len(forms)
    fits = alike and _num_streams(topology) == 1
    _require(fits, "its experts make each output together, by one rule")
    return Merge(_placed(merges, index, topology)) if merges else combines[0]


def _union(
    items: Items, routings: Sequence[Routing], topology: GateTopology, index: Sequence[Tensor]
) -> Routing:
    n, cells = len(items), topology.num_experts * len(items)
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
    loads = [r.expected_load for r in routings if r.expected_load is not None]
    expected = _placed(loads, index, topology).sum(0) if len(loads) == len(routings) else None
    joint = Routing(
        kept % max(n, 1),
        kept // max(n, 1),
        torch.stack(weight, 1),
        n,
        topology.num_experts,
        groups=items.groups,
        mask=items.mask,
        task=items.task,
        expected_load=expected,
        fan_in=n if len(kept) == cells else None,
        is_dense=len(kept) == cells,
    )
    if all(r.before is None for r in routings):
        return joint
    asked = [r if r.before is None else r.before for r in routings]
    before = _union(items, asked, topology, index)
    return replace(joint, requested=before.load, given_importance=before.importance, before=before)


def _joint_slots(
    items: Items,
    routings: Sequence[Routing],
    topology: GateTopology,
    index: Sequence[Tensor],
    probs: Tensor,
) -> Routing:
    """Every expert gets the slots that each gate has for it."""
    parts = [r.execution for r in routings if isinstance(r.execution, Slots)]
    all_experts = all(len(of) == topology.num_experts for of in index)
    _require(
        _num_streams(topology) == 1 and all_experts and len(parts) == len(routings),
        "its experts work on slots, each a mean of one stream's items",
    )
    order = [of.argsort() for of in index]
    pairs = list(zip(parts, order, strict=True))
    dispatch = torch.cat([_by_expert(part.dispatch, of) for part, of in pairs], -1)
    combine = [_by_expert(part.combine, of) for part, of in pairs]
    sizes = [slots.shape[-1] for slots in combine]
    apart = [
        F.pad(own, (sum(sizes[:gate]), sum(sizes[gate + 1 :]))) for gate, own in enumerate(combine)
    ]
    slots = dispatch.flatten(2), torch.stack(apart).flatten(3)
    return Routing.by_slot(items, *slots, topology.num_experts, probs=probs)


def _num_streams(topology: GateTopology) -> int:
    """The number of streams that gates or experts read."""
    return len({*topology.sources, *(branch.reads for branch in topology.branches)})


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise ConfigError(
            f"router: {why}, so it fits only where all gates and experts use one stream and every "
            "gate has every expert, as in mmoe; choose a router that sends items to experts, "
            "such as topk"
        )


def _by_expert(slots: Tensor, order: Tensor) -> Tensor:
    """``(G, L, S)`` as ``(G, L, E, S / E)``, experts in this order."""
    each = slots.shape[-1] // len(order)
    return slots.view(*slots.shape[:-1], len(order), each)[:, :, order]


def _placed(parts: Sequence[Tensor], index: Sequence[Tensor], topology: GateTopology) -> Tensor:
    """``(G, ..., E_g)`` of each gate's own experts, placed among all: ``(G, ..., E)``."""
    grids = [part.new_zeros(*part.shape[:-1], topology.num_experts) for part in parts]
    given = zip(grids, index, parts, strict=True)
    return torch.stack([grid.index_copy(-1, of, part) for grid, of, part in given])
