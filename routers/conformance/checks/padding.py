"""Checks that padding is never routed, read or counted."""

from dataclasses import replace

import torch

from ...routing import Items, Routing
from ..harness import RouterUnderTest, numbers_of, pick, random_mask, require, routes, same, where


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
    plain = subject.items(6, 3)
    items = replace(plain, mask=random_mask(plain))
    noise = subject.items(6, 3, seed=99)
    loud = Items(noise.x * 100, noise.groups, None, noise.ids, noise.task)
    other = where(items.real(), items, loud)
    for route in (subject.in_training, subject.in_eval):
        _require_same(
            route(items),
            route(other),
            items,
            other,
            "changes with the content of padding",
            "leave padding out of every reduction over items: use items.real()",
        )


def check_padding_is_as_if_absent(subject: RouterUnderTest) -> None:
    """Groups padded at their ends are routed and measured like shorter groups."""
    length, kept = 6, 4
    plain = subject.items(length, 3)
    real = torch.arange(len(plain)) % length < kept
    items = replace(plain, mask=real)
    shorter = pick(plain, real.nonzero().squeeze(1), plain.groups)
    _require_same(
        subject.in_eval(items),
        subject.in_eval(shorter),
        items,
        shorter,
        "differs from the same items without padding",
        "count real items only, in capacities too: items.grouped(items.real()).sum(1)",
    )


def check_full_mask_is_no_mask(subject: RouterUnderTest) -> None:
    """A mask that is True everywhere changes nothing."""
    items = subject.items(6, 3)
    full = replace(items, mask=torch.ones(len(items), dtype=torch.bool))
    _require_same(
        subject.in_eval(full),
        subject.in_eval(items),
        full,
        items,
        "changes with a mask of True",
        "compute both cases in the same way",
    )


def check_padded_groups(subject: RouterUnderTest) -> None:
    """Every loss and metric is finite with a group, or a batch, of padding only."""
    items = subject.items(4, 3)
    first = torch.arange(len(items)) >= items.group_length
    masks = (first, torch.zeros_like(first))
    for given, routing in subject.routings([replace(items, mask=mask) for mask in masks]):
        numbers = numbers_of(routing.limit(1.0)) | {"probs": routing.probs}
        for name, value in numbers.items():
            require(
                value.isfinite().all(),
                f"{name} is {value.tolist()} with {int(given.real().sum())} real items",
                "handle groups without real items: finite floors, clamped counts",
            )


def _require_same(
    one: Routing, other: Routing, items: Items, others: Items, what: str, hint: str
) -> None:
    rows = routes(one)[items.real()], routes(other)[others.real()]
    require(same(*rows), f"a route {what}", hint)
    first, second = numbers_of(one), numbers_of(other)
    for name in first.keys() | second.keys():
        both = name in first and name in second
        require(both and same(first[name], second[name]), f"{name} {what}", hint)
