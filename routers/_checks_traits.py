"""Checks that prove what a router declares about which items may change which routes."""

from dataclasses import replace

import torch
from torch import Tensor

from ._checks_subject import Subject, pick, random_mask, require, routes, same, where, with_mask
from ._errors import ConfigError
from ._items import Items
from ._losses import losses


def check_traits_may_only_shrink(subject: Subject) -> None:
    """An instance promises no more than its class, so the catalogue never undersells a leak."""
    router = subject.router()
    for trait in ("per_item", "causal", "equivariant", "convex"):
        claimed, allowed = getattr(router.traits, trait), getattr(type(router).traits, trait)
        require(
            allowed or not claimed,
            f"the instance declares {trait}, its class does not",
            f"declare {trait} on the class and take it back with self._promise where it fails",
        )
    require(
        not router.traits.per_item or router.traits.causal or not router.traits.equivariant,
        "per_item and equivariant are declared, but not causal, which follows from them",
        "declare causal too, or take per_item back",
    )


def _unchanged(subject: Subject, items: Items, other: Items, rows: Tensor) -> bool:
    """Whether the routes in ``rows`` are the same for both, in training and in eval."""
    return all(
        same(routes(route(items))[rows], routes(route(other))[rows])
        for route in (subject.in_training, subject.in_eval)
    )


def check_per_item(subject: Subject) -> str | None:
    """Trait ``per_item``: new batch-mates, or none at all, leave an item's route alone."""
    router = subject.router()
    if not router.traits.per_item:
        return "not promised"
    mend = "decide from the item's own row of x, or declare traits = Traits(per_item=False)"
    for items in subject.batches():
        keep = torch.arange(len(items)) % 2 == 0
        other = where(keep, items, subject.items(items.group_length, items.groups, seed=99))
        require(
            _unchanged(subject, items, other, keep),
            "per_item is declared, but an item's route changes with its batch-mates",
            mend,
        )
        if not router.traits.equivariant:
            continue  # the place in the group may count, so a shorter batch is another question
        last = torch.tensor([len(items) - 1])
        alone = pick(items, last, groups=1)
        require(
            same(routes(subject.in_eval(alone)), routes(subject.in_eval(items))[last]),
            "per_item is declared, but an item alone is routed differently than in its batch",
            mend,
        )
    return None


def check_groups_independent(subject: Subject) -> None:
    """No router lets one group's items change another group's routes."""
    plain = subject.items(5, 3)
    for items in (plain, with_mask(plain, random_mask(plain))):
        keep = torch.arange(len(items)) // items.group_length == 1
        other = where(keep, items, subject.items(5, 3, seed=99))
        require(
            _unchanged(subject, items, other, keep),
            "an item's route changes with the items of another group",
            "reduce over items.grouped(values), (G, L, ...), along the items' axis only",
        )


def check_causal(subject: Subject) -> str | None:
    """Trait ``causal``: later items of a group, or their absence, change no earlier route."""
    if not subject.router().traits.causal:
        return "not promised"
    mend = "look at earlier items only, or declare traits = Traits(causal=False)"
    length, groups = 7, 3
    plain = subject.items(length, groups)
    for items in (plain, with_mask(plain, random_mask(plain))):
        place = torch.arange(len(items)) % length
        for cut in range(1, length):
            keep = place < cut
            other = where(keep, items, subject.items(length, groups, seed=99))
            require(
                _unchanged(subject, items, other, keep),
                f"causal is declared, but items from place {cut} on change earlier routes",
                mend,
            )
            shorter = pick(items, keep.nonzero().squeeze(1), groups)
            require(
                same(routes(subject.in_eval(shorter)), routes(subject.in_eval(items))[keep]),
                f"causal is declared, but routes change when a group ends at place {cut}",
                mend,
            )
    return None


def check_equivariant(subject: Subject) -> str | None:
    """Trait ``equivariant``: a group's items in another order take their routes along."""
    if not subject.router().traits.equivariant:
        return "not promised"
    for items in subject.batches():
        length = items.group_length
        generator = torch.Generator().manual_seed(3)
        order = torch.cat(
            [torch.randperm(length, generator=generator) + g * length for g in range(items.groups)]
        )
        require(
            same(
                routes(subject.in_eval(pick(items, order, items.groups))),
                routes(subject.in_eval(items))[order],
            ),
            "equivariant is declared, but an item's route depends on its place in the group",
            "do not read the place, or declare traits = Traits(equivariant=False)",
        )
    return None


def check_needs_ids(subject: Subject) -> None:
    """Trait ``needs_ids``: a ``ConfigError`` names missing ids; nobody else reads them."""
    bare = replace(subject.items(6), ids=None, task=None)
    if not subject.router().traits.needs_ids:
        subject.in_eval(bare)
        return
    try:
        subject.in_eval(bare)
    except ConfigError as refusal:
        require(
            "ids" in str(refusal),
            f"the error without ids does not name them: {refusal}",
            "say that the router needs ids and how to give them",
        )
    else:
        require(
            False,
            "needs_ids is declared, but the router works without ids",
            "raise ConfigError where items.ids is None, or do not declare needs_ids",
        )


def check_declared_fields(subject: Subject) -> None:
    """Traits ``expects_load`` and ``has_logits`` tell which fields, and losses, there are."""
    traits = subject.router().traits
    items = subject.items(6, 2)
    for route in (subject.in_training, subject.in_eval):
        routing = route(items)
        for trait, field, loss in (
            ("expects_load", "expected_load", "load"),
            ("has_logits", "logits", "z"),
        ):
            declared, given = getattr(traits, trait), getattr(routing, field) is not None
            require(
                declared == given,
                f"{trait}={declared} is declared, but routing.{field} is "
                f"{'given' if given else 'missing'}",
                f"declare {trait}={given}, or {'leave out' if given else 'give'} {field}",
            )
            if declared:
                value = losses[loss](routing)
                require(
                    value.dim() == 0 and value.isfinite(),
                    f"losses.{loss} is {value}",
                    f"give routing.{field} the shape and range its description states",
                )
        if traits.expects_load:
            assert routing.expected_load is not None
            require(
                routing.expected_load.shape == (subject.num_experts,)
                and (routing.expected_load >= 0).all()
                and (routing.expected_load.requires_grad or not traits.learned),
                "expected_load is not a differentiable (E,) tensor of non-negative numbers",
                "sum each expert's chance of being chosen over the real items",
            )
