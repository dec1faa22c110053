"""Checks of declared traits: which items may change which routes."""

from dataclasses import replace

import torch
from torch import Tensor

from ...losses import LOSSES
from ...plugins.errors import ConfigError
from ...routing import Items, Merge
from ..harness import RouterUnderTest, declared, pick, require, routes, same, where


def check_traits_may_only_shrink(subject: RouterUnderTest) -> None:
    """An instance declares no trait that its class lacks, so the catalogue never overstates one."""
    router = subject.router()
    for trait in ("per_item", "causal", "equivariant", "convex"):
        claimed, allowed = getattr(router.traits, trait), getattr(type(router).traits, trait)
        require(
            allowed or not claimed,
            f"the instance declares {trait}, its class does not",
            f"declare {trait} on the class and withdraw it with self.set_traits where it fails",
        )
    require(
        not router.traits.per_item or router.traits.causal or not router.traits.equivariant,
        "per_item and equivariant are declared, but not causal, which follows from them",
        "declare causal too, or withdraw per_item",
    )


def _unchanged(subject: RouterUnderTest, items: Items, other: Items, rows: Tensor) -> bool:
    """Whether the routes in ``rows`` are the same for both, in training and in eval."""
    return all(
        same(routes(route(items))[rows], routes(route(other))[rows])
        for route in (subject.in_training, subject.in_eval)
    )


@declared("per_item")
def check_per_item(subject: RouterUnderTest) -> None:
    """Trait ``per_item``: an item's route does not depend on other items of the batch."""
    router = subject.router()
    hint = "decide from the item's own row of x, or declare traits = Traits(per_item=False)"
    for items in subject.batches():
        keep = torch.arange(len(items)) % 2 == 0
        other = where(keep, items, subject.items(items.group_length, items.groups, seed=99))
        require(
            _unchanged(subject, items, other, keep),
            "per_item is declared, but an item's route changes with its batch-mates",
            hint,
        )
        if not router.traits.equivariant:
            continue  # the place in the group may matter, so a shorter batch is no fair comparison
        last = torch.tensor([len(items) - 1])
        alone = pick(items, last, groups=1)
        require(
            same(routes(subject.in_eval(alone)), routes(subject.in_eval(items))[last]),
            "per_item is declared, but an item alone is routed differently than in its batch",
            hint,
        )


def check_groups_independent(subject: RouterUnderTest) -> None:
    """Items of one group never change routes of another group."""
    for items in subject.padded(5, 3):
        keep = torch.arange(len(items)) // items.group_length == 1
        other = where(keep, items, subject.items(5, 3, seed=99))
        require(
            _unchanged(subject, items, other, keep),
            "an item's route changes with the items of another group",
            "reduce items.grouped(values), (G, L, ...), over the axis of items only",
        )


@declared("causal")
def check_causal(subject: RouterUnderTest) -> None:
    """Trait ``causal``: later items of a group, present or absent, change no earlier route."""
    hint = "read earlier items only, or declare traits = Traits(causal=False)"
    length, groups = 7, 3
    for items in subject.padded(length, groups):
        place = torch.arange(len(items)) % length
        for cut in range(1, length):
            keep = place < cut
            other = where(keep, items, subject.items(length, groups, seed=99))
            require(
                _unchanged(subject, items, other, keep),
                f"causal is declared, but items from place {cut} on change earlier routes",
                hint,
            )
            shorter = pick(items, keep.nonzero().squeeze(1), groups)
            require(
                same(routes(subject.in_eval(shorter)), routes(subject.in_eval(items))[keep]),
                f"causal is declared, but routes change when a group ends at place {cut}",
                hint,
            )


@declared("equivariant")
def check_equivariant(subject: RouterUnderTest) -> None:
    """Trait ``equivariant``: permuting a group's items permutes their routes."""
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


def check_needs_ids(subject: RouterUnderTest) -> None:
    """Trait ``needs_ids``: missing ids raise ``ConfigError``; other routers work without ids."""
    _check_needs(subject, "needs_ids", "ids", replace(subject.items(6), ids=None))


def check_needs_task(subject: RouterUnderTest) -> None:
    """Trait ``needs_task``: missing tasks raise ``ConfigError``, given ones determine routes.

    Other routers work without tasks. A router without parameters that needs no ids depends on
    nothing but the tasks.
    """
    _check_needs(subject, "needs_task", "task", replace(subject.items(6), task=None))
    router = subject.router()
    traits = router.traits
    if not traits.needs_task:
        return
    items, noise = subject.items(7, 3), subject.items(7, 3, seed=99)
    assert items.task is not None
    assert noise.task is not None
    for route in (subject.in_training, subject.in_eval):
        before = routes(route(items))
        after = routes(route(replace(items, task=noise.task)))
        moved = (before != after).any(1)
        require(
            moved.any(),
            "needs_task is declared, but changed tasks do not change routes",
            "let the route depend on items.task, or do not declare needs_task",
        )
        require(
            not (moved & (items.task == noise.task)).any() or not traits.per_item,
            "an item's route changes with the tasks of other items",
            "read the item's own task, or declare traits = Traits(per_item=False)",
        )
        if not list(router.parameters()) and not traits.needs_ids:
            content = routes(route(replace(items, x=noise.x, ids=noise.ids)))
            require(
                same(content, before),
                "needs_task is declared, without parameters, but routes change with x or ids",
                "read items.task only, or declare what else is read",
            )


def _check_needs(subject: RouterUnderTest, trait: str, field: str, bare: Items) -> None:
    """Without ``field``, a router with ``trait`` raises ``ConfigError``, and any other works."""
    if not getattr(subject.router().traits, trait):
        subject.in_eval(bare)
        return
    try:
        subject.in_eval(bare)
    except ConfigError as refusal:
        require(
            field in str(refusal),
            f"the error without {field} does not name {field}: {refusal}",
            f"state that the router needs {field} and how to provide it",
        )
    else:
        require(
            False,
            f"{trait} is declared, but the router works without {field}",
            f"raise ConfigError if items.{field} is None, or do not declare {trait}",
        )


def check_declared_fields(subject: RouterUnderTest) -> None:
    """``expects_load``, ``has_logits`` and ``merges`` match the fields of the routing."""
    traits = subject.router().traits
    for _, routing in subject.routings([subject.items(6, 2)]):
        for trait, field, given in (
            ("expects_load", "expected_load", routing.expected_load is not None),
            ("has_logits", "logits", routing.logits is not None),
            ("merges", "execution=Merge", isinstance(routing.execution, Merge)),
        ):
            claim = getattr(traits, trait)
            require(
                claim == given,
                f"{trait}={claim} is declared, but routing.{field} is "
                f"{'given' if given else 'missing'}",
                f"declare {trait}={given}, or {'leave out' if given else 'give'} {field}",
            )
        for trait, field, loss in (
            ("expects_load", "expected_load", "load"),
            ("has_logits", "logits", "z"),
        ):
            if getattr(traits, trait):
                value = LOSSES[loss](routing)
                require(
                    value.dim() == 0 and value.isfinite(),
                    f"losses.{loss} is {value}",
                    f"give routing.{field} its documented shape and range",
                )
        if traits.expects_load:
            assert routing.expected_load is not None
            require(
                routing.expected_load.shape == (subject.num_experts,)
                and (routing.expected_load >= 0).all()
                and (routing.expected_load.requires_grad or not traits.learned),
                "expected_load is not a differentiable (E,) tensor of non-negative numbers",
                "sum each expert's probability of being chosen over the real items",
            )
