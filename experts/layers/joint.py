"""Routings of parts or passes of the same items, as one routing of the items."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from routers import ConfigError, Routing


def over_passes(routings: Sequence[Routing]) -> Routing:
    """The assignments of several passes over the same items, one after the other.

    An expert that works on an item in two passes has two assignments, so that ``load`` counts its
    work. ``probs`` is the mean over passes, ``expected_load`` a sum; losses find what belongs to a
    single pass in ``gates``. ``ConfigError`` for routings through slots or merged experts.

    >>> from routers import Items
    >>> items, weight = Items(torch.zeros(2, 1)), torch.ones(2, 1)
    >>> one = Routing.by_item(items, torch.tensor([[0], [1]]), weight, 3)
    >>> two = Routing.by_item(items, torch.tensor([[1], [1]]), weight, 3)
    >>> over_passes([one, two]).load.tolist()
    [1, 3, 0]
    """
    _check_assigns(routings)
    first, number = routings[0], len(routings)
    scored = [each.candidates for each in routings if each.candidates is not None]
    every = len(scored) < len(routings)  # some router scores all experts
    probs = [each.to_dense(each.probs) if every else each.probs for each in routings]
    loads = [each.expected_load for each in routings if each.expected_load is not None]
    wanted = [each.experts_per_item for each in routings if each.experts_per_item is not None]
    outputs = [each.outputs for each in routings if each.outputs is not None]
    scales = [each.log_partition for each in routings if each.log_partition is not None]
    columns = [each.unsqueeze(-1).flatten(1) for each in scales]
    joint = Routing(
        torch.cat([each.item for each in routings]),
        torch.cat([each.expert for each in routings]),
        torch.cat([each.weight for each in routings]),
        first.num_items,
        first.num_experts,
        groups=first.groups,
        mask=first.mask,
        task=first.task,
        given_probs=torch.stack(probs).mean(0) if every else torch.cat(probs, 1) / number,
        candidates=None if every else torch.cat(scored, 1),
        expected_load=torch.stack(loads).sum(0) if len(loads) == number else None,
        experts_per_item=sum(wanted) if len(wanted) == number else None,
        extras={
            **({"log_partition": torch.cat(columns, 1)} if len(columns) == number else {}),
            **{k: v for k, v in routings[-1].extras.items() if k == "state"},
        },
        gates=tuple(routings),
        outputs=torch.cat(outputs) if len(outputs) == number else None,
    )
    if all(each.before is None for each in routings):
        return joint
    return _after(joint, over_passes([each.before or each for each in routings]))


def folded(routing: Routing, parts: int) -> Routing:
    """The assignments of ``parts`` consecutive items as those of one, which they are parts of.

    Load and outputs stay. ``probs`` is the mean over parts; ``gates`` has the routing of the parts.
    ``ConfigError`` as of ``over_passes``.

    >>> from routers import Items
    >>> route = torch.tensor([[0], [2], [2], [2]])
    >>> halves = Routing.by_item(Items(torch.zeros(4, 1)), route, torch.ones(4, 1), 3)
    >>> whole = folded(halves, 2)
    >>> whole.item.tolist(), whole.load.tolist(), whole.probs[0].tolist()
    ([0, 0, 1, 1], [1, 0, 3], [0.5, 0.0, 0.5])
    """
    _check_assigns([routing])
    n = routing.num_items // parts

    def spread(values: Tensor) -> Tensor:
        return values.reshape(n, -1)

    probs, candidates = routing.probs, routing.candidates
    if candidates is None:
        probs = probs.reshape(n, parts, -1).mean(1)
    else:
        probs, candidates = spread(probs) / parts, spread(candidates)
    extras = {k: v for k, v in routing.extras.items() if k in ("counts", "load_factors")}
    if routing.log_partition is not None:
        extras["log_partition"] = spread(routing.log_partition)
    wanted = routing.experts_per_item
    whole = Routing(
        routing.item // parts,
        routing.expert,
        routing.weight,
        n,
        routing.num_experts,
        groups=routing.groups,
        mask=None if routing.mask is None else routing.mask[::parts],
        task=None if routing.task is None else routing.task[::parts],
        given_probs=probs,
        candidates=candidates,
        expected_load=routing.expected_load,
        experts_per_item=None if wanted is None else wanted * parts,
        extras=extras,
        gates=(routing,),
        outputs=routing.outputs,
    )
    return whole if routing.before is None else _after(whole, folded(routing.before, parts))


def _after(joint: Routing, before: Routing) -> Routing:
    """A routing after drops from another."""
    return replace(joint, requested=before.load, given_importance=before.importance, before=before)


def _check_assigns(routings: Sequence[Routing]) -> None:
    for routing in routings:
        if routing.execution is not None:
            form = type(routing.execution).__name__.lower()
            raise ConfigError(
                f"the routing is through {form}, which assigns no items to experts, so several "
                "have no sum; use a router that assigns items, such as topk"
            )
