"""Checks of capacity: the number of kept assignments, their weights, and causality."""

import torch

from ...routing import Routing
from ...routing.capacity import DROP_ORDERS
from ..harness import RouterUnderTest, declared, routes, same, weight_grid
from ..results import require
from .shapes import CONSTRUCT


def check_capacity(subject: RouterUnderTest) -> None:
    """``routing.limit`` keeps ``ceil(factor * K n_g / E)`` per group and expert, in every order.

    ``K`` is ``experts_per_item``, or else the group's mean. The order ``position`` cannot know
    that mean; there, the check only requires that no assignment is added.
    """
    for _, routing in subject.routings():
        if not routing.supports_dropping:
            require(
                routing.limit(0.5) is routing, "limit changed slots or merged experts", CONSTRUCT
            )
            continue
        for order in DROP_ORDERS:
            limited = {factor: routing.limit(factor, order) for factor in (0.5, 1.0, 1.25)}
            for factor, kept in limited.items():
                _check_limited(routing, kept, factor, order)
            require(
                same(routes(routing.limit(0.5, order)), routes(limited[0.5])),
                f"limit(0.5, {order!r}) is not deterministic",
                "derive the random order from the routing",
            )


def _check_limited(routing: Routing, kept: Routing, factor: float, order: str) -> None:
    e, length = routing.num_experts, max(routing.num_items // routing.groups, 1)
    before, after = (
        torch.bincount(r.item // length * e + r.expert, minlength=r.groups * e).view(-1, e)
        for r in (routing, kept)
    )
    asked = before.sum(1, keepdim=True).double()
    if routing.experts_per_item is not None:
        real = torch.ones(routing.num_items) if routing.mask is None else routing.mask
        per_group = real.view(routing.groups, -1).sum(1, keepdim=True)
        asked = per_group.double() * routing.experts_per_item
    capacity = (asked * factor / e - 1e-9).ceil().long()
    mean_so_far = routing.experts_per_item is None and order == "position"
    require(
        (after <= before).all() if mean_so_far else torch.equal(after, before.minimum(capacity)),
        f"limit({factor}, {order!r}) kept {after.tolist()} of {before.tolist()}, "
        f"capacity {capacity.flatten().tolist()}",
        f"{CONSTRUCT}, so that groups and items agree",
    )
    why = f"limit({factor}, {order!r}) changed the requested load"
    hint = "let Routing.drop set requested"
    require(torch.equal(kept.requested_load, routing.requested_load), why, hint)


def check_drops_keep_weights(subject: RouterUnderTest) -> str | None:
    """A capacity deletes assignments and rescales the remaining weights only on request."""
    for items in subject.batches():
        routing = subject.in_eval(items)
        if not routing.supports_dropping:
            return "nothing to drop"
        before = weight_grid(routing)
        for order in DROP_ORDERS:
            kept = routing.limit(0.5, order)
            require(
                torch.equal(weight_grid(kept)[kept.assigned_mask], before[kept.assigned_mask]),
                f"limit(0.5, {order!r}) changed a weight that it keeps",
                "only drop assignments: weights are rescaled only with renormalize=True",
            )
    return None


@declared("causal")
def check_capacity_is_causal(subject: RouterUnderTest) -> None:
    """Trait ``causal`` also holds under a capacity in the order ``position``."""
    length, groups = 7, 3
    place = torch.arange(length * groups) % length
    for items in subject.padded(length, groups):
        for cut in range(1, length):
            early = place < cut
            both = subject.in_eval(items), subject.in_eval(subject.altered(items, early))
            for factor in (0.5, 1.0):
                one, two = (routes(each.limit(factor, "position"))[early] for each in both)
                require(
                    same(one, two),
                    f"causal is declared, but which of the first {cut} items limit({factor}) drops "
                    "depends on later items",
                    "the order position is first come, first served: sort by place and not by "
                    "weight, and do not count assignments of later items for the capacity, see "
                    "Routing.experts_per_item",
                )
