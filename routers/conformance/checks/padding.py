"""Checks that padding is never routed, read or counted."""

from collections.abc import Callable
from dataclasses import replace

import torch

from ...routing import Items, Routing
from ..harness import RouterUnderTest, numbers_of, pick, require_finite, routes, same
from ..results import require


def check_padding_is_not_routed(subject: RouterUnderTest) -> None:
    """Padding has no assignment, contributes to no slot and receives nothing from slots."""
    for items, routing in subject.routings():
        reached = routes(routing)[~items.real()]
        require(
            not reached.any(),
            "an item of padding was routed",
            "construct the routing with by_item, by_expert or by_mask, which drop padding; for "
            "slots, dispatch and combine must be 0 in the rows of padding",
        )


def check_padding_is_not_read(subject: RouterUnderTest) -> None:
    """The content of padding changes no route, load, loss or metric."""
    _, items = subject.padded(6, 3)
    other = subject.altered(items, items.real())
    other = replace(other, x=torch.where(items.real().unsqueeze(1), other.x, other.x * 100))
    why = "changes with the content of padding"
    hint = "leave padding out of every reduction over items: use items.real()"
    for route in (subject.in_training, subject.in_eval):
        _require_same(route, items, other, why, hint)


def check_padding_is_as_if_absent(subject: RouterUnderTest) -> None:
    """Groups padded at their ends are routed and measured like shorter groups."""
    length, kept = 6, 4
    plain = subject.items(length, 3)
    real = torch.arange(len(plain)) % length < kept
    items = replace(plain, mask=real)
    shorter = pick(plain, real.nonzero().squeeze(1), plain.groups)
    why = "differs from the same items without padding"
    hint = "count real items only, in capacities too: items.grouped(items.real()).sum(1)"
    _require_same(subject.in_eval, items, shorter, why, hint)


def check_full_mask_is_no_mask(subject: RouterUnderTest) -> None:
    """A mask that is True everywhere changes nothing."""
    items = subject.items(6, 3)
    full = replace(items, mask=torch.ones(len(items), dtype=torch.bool))
    why, hint = "changes with a mask of True", "compute both cases in the same way"
    _require_same(subject.in_eval, full, items, why, hint)


def check_padded_groups(subject: RouterUnderTest) -> None:
    """Every loss and metric is finite with a group, or a batch, of padding only."""
    items = subject.items(4, 3)
    first = torch.arange(len(items)) >= items.group_length
    masks = (first, torch.zeros_like(first))
    for given, routing in subject.routings([replace(items, mask=mask) for mask in masks]):
        when = f"with {int(given.real().sum())} real items"
        hint = "handle groups without real items: finite floors, clamped counts"
        require_finite(routing.limit(1.0), when, hint)


def _require_same(
    route: Callable[[Items], Routing], items: Items, others: Items, what: str, hint: str
) -> None:
    one, other = route(items), route(others)
    first, second = (
        {"a route": routes(routing)[given.real()], **numbers_of(routing)}
        for routing, given in ((one, items), (other, others))
    )
    for name in [*first, *(second.keys() - first.keys())]:
        both = name in first and name in second
        require(both and same(first[name], second[name]), f"{name} {what}", hint)
