"""Checks of declared traits: which items may change which routes."""

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from ...losses import LOSSES
from ...plugins.errors import ConfigError
from ...routing import Items, Merge
from ..harness import RouterUnderTest, declared, pick, routes, same
from ..results import require


def check_traits_may_only_shrink(subject: RouterUnderTest) -> None:
    """With default options a router declares no trait that its class lacks.

    So the catalogue agrees with what it shows; other options may add traits, which are checked
    like any.
    """
    router = subject.router()
    default = router
    with suppress(ConfigError, TypeError):  # options without a default, or not for this size
        default = type(router)(subject.dim, subject.num_experts)
    for trait in ("per_item", "causal", "equivariant", "convex"):
        claimed, allowed = getattr(default.traits, trait), getattr(type(router).traits, trait)
        why = f"the instance declares {trait}, its class does not"
        hint = f"declare {trait} on the class and withdraw it with self.set_traits where it fails"
        require(allowed or not claimed, why, hint)
    require(
        not router.traits.per_item or router.traits.causal or not router.traits.equivariant,
        "per_item and equivariant are declared, but not causal, which follows from them",
        "declare causal too, or withdraw per_item",
    )


def _require_unchanged(
    subject: RouterUnderTest, items: Items, keep: Tensor, why: str, hint: str
) -> None:
    """Other content where ``keep`` is False changes no route elsewhere, in training and in eval."""
    other = subject.altered(items, keep)
    for route in (subject.in_training, subject.in_eval):
        require(same(routes(route(items))[keep], routes(route(other))[keep]), why, hint)


def _require_alike(
    subject: RouterUnderTest, items: Items, index: Tensor, groups: int, why: str, hint: str
) -> None:
    """In eval, the items at ``index`` have the same routes alone as in their batch."""
    alone = subject.in_eval(pick(items, index, groups))
    require(same(routes(alone), routes(subject.in_eval(items))[index]), why, hint)


@declared("per_item")
def check_per_item(subject: RouterUnderTest) -> None:
    """Trait ``per_item``: an item's route does not depend on other items of the batch."""
    equivariant = subject.router().traits.equivariant
    hint = "decide from the item's own row of x, or declare traits = Traits(per_item=False)"
    for items in subject.batches():
        keep = torch.arange(len(items)) % 2 == 0
        why = "per_item is declared, but an item's route changes with its batch-mates"
        _require_unchanged(subject, items, keep, why, hint)
        if equivariant:  # else the place in the group may matter
            last = torch.tensor([len(items) - 1])
            why = "per_item is declared, but an item alone is routed differently than in its batch"
            _require_alike(subject, items, last, 1, why, hint)


def check_groups_independent(subject: RouterUnderTest) -> None:
    """Items of one group never change routes of another group."""
    for items in subject.padded(5, 3):
        _require_unchanged(
            subject,
            items,
            torch.arange(len(items)) // items.group_length == 1,
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
            why = f"causal is declared, but items from place {cut} on change earlier routes"
            _require_unchanged(subject, items, keep, why, hint)
            why = f"causal is declared, but routes change when a group ends at place {cut}"
            _require_alike(subject, items, keep.nonzero().squeeze(1), groups, why, hint)


@declared("causal_in_eval")
def check_causal_in_eval(subject: RouterUnderTest) -> None:
    """Trait ``causal_in_eval``: in eval, later items change no earlier route nor drop."""
    length, groups = 7, 3
    for items in subject.padded(length, groups):
        place = torch.arange(len(items)) % length
        for cut in range(1, length):
            keep = place < cut
            one, other = subject.in_eval(items), subject.in_eval(subject.altered(items, keep))
            why = f"causal_in_eval is declared, but items from place {cut} on change earlier routes"
            hint = "decide in eval from the item itself, or do not declare causal_in_eval"
            require(same(routes(one)[keep], routes(other)[keep]), why, hint)
            kept, left = (routes(each.limit(0.5, "position"))[keep] for each in (one, other))
            require(same(kept, left), f"{why.removesuffix('routes')}drops", hint)
            why = f"causal_in_eval is declared, but routes change when a group ends at place {cut}"
            _require_alike(subject, items, keep.nonzero().squeeze(1), groups, why, hint)


@declared("equivariant")
def check_equivariant(subject: RouterUnderTest) -> None:
    """Trait ``equivariant``: permuting a group's items permutes their routes."""
    why = "equivariant is declared, but an item's route depends on its place in the group"
    hint = "do not read the place, or declare traits = Traits(equivariant=False)"
    for items in subject.batches():
        length = items.group_length
        generator = torch.Generator().manual_seed(3)
        order = torch.cat(
            [torch.randperm(length, generator=generator) + g * length for g in range(items.groups)]
        )
        _require_alike(subject, items, order, items.groups, why, hint)


def check_needs_ids(subject: RouterUnderTest) -> None:
    """Trait ``needs_ids``: missing ids raise ``ConfigError``; other routers work without ids."""
    _check_needs(subject, "ids", replace(subject.items(6), ids=None))


def check_needs_task(subject: RouterUnderTest) -> None:
    """Trait ``needs_task``: missing tasks raise ``ConfigError``, given ones determine routes.

    Other routers work without tasks. A router without parameters that needs no ids depends on
    nothing but the tasks.
    """
    _check_needs(subject, "task", replace(subject.items(6), task=None))
    router = subject.router()
    traits = router.traits
    if not traits.needs_task:
        return
    items, noise = subject.items(7, 3), subject.items(7, 3, seed=99)
    assert items.task is not None
    for route in (subject.in_training, subject.in_eval):
        before = routes(route(items))
        after = routes(route(replace(items, task=noise.task)))
        moved = (before != after).any(1)
        why = "needs_task is declared, but changed tasks do not change routes"
        hint = "let the route depend on items.task, or do not declare needs_task"
        require(moved.any(), why, hint)
        why = "an item's route changes with the tasks of other items"
        hint = "read the item's own task, or declare traits = Traits(per_item=False)"
        require(not (moved & (items.task == noise.task)).any() or not traits.per_item, why, hint)
        if not list(router.parameters()) and not traits.needs_ids:
            content = routes(route(replace(items, x=noise.x, ids=noise.ids)))
            why = "needs_task is declared, without parameters, but routes change with x or ids"
            hint = "read items.task only, or declare what else is read"
            require(same(content, before), why, hint)


def check_needs_recorded(subject: RouterUnderTest) -> None:
    """Trait ``needs_recorded``: missing routes raise ``ConfigError``, given ones are followed.

    Other routers work without recorded routes.
    """
    _check_needs(subject, "recorded", replace(subject.items(6), recorded=None))
    if not subject.router().traits.needs_recorded:
        return
    for items in subject.padded(7, 3):
        assert items.recorded is not None
        real = items.real().unsqueeze(1)
        for route in (subject.in_training, subject.in_eval):
            routing = route(items)
            why = "needs_recorded is declared, but an item's experts are not those recorded"
            hint = "assign as items.recorded.for_items(items) does; select nothing, drop nothing"
            wanted = items.recorded.assigned_mask & real
            require(torch.equal(routing.assigned_mask, wanted), why, hint)


def check_needs_projections(subject: RouterUnderTest) -> None:
    """Trait ``needs_projections``: missing weights of experts raise ``ConfigError``.

    Given ones determine routes. Other routers work without them.
    """
    items = subject.items(7, 3)
    _check_needs(subject, "projections", replace(items, projections=None))
    if not subject.router().traits.needs_projections:
        return
    assert items.projections is not None
    others = replace(items, projections=items.projections.flip(0))
    why = "needs_projections is declared, but other weights of experts do not change routes"
    hint = "let the route depend on items.projections, or do not declare needs_projections"
    for route in (subject.in_training, subject.in_eval):
        require(not same(routes(route(items)), routes(route(others))), why, hint)


def _check_needs(subject: RouterUnderTest, field: str, bare: Items) -> None:
    """With ``bare`` items, a router that needs the field raises ``ConfigError``; others work."""
    needed, refusal = getattr(subject.router().traits, f"needs_{field}"), ""
    try:
        subject.in_eval(bare)
    except ConfigError as error:
        if not needed:
            raise
        refusal = str(error)
    why = f"needs_{field} is declared, but the router works without {field}"
    hint = f"raise ConfigError if items.{field} is None, or do not declare needs_{field}"
    require(refusal or not needed, why, hint)
    why = f"the error without {field} does not name {field}: {refusal}"
    hint = f"state that the router needs {field} and how to provide it"
    require(not needed or field in refusal, why, hint)


def check_declared_fields(subject: RouterUnderTest) -> None:
    """``expects_load``, ``has_logits`` and ``merges`` match the fields of the routing."""
    traits = subject.router().traits
    for _, routing in subject.routings([subject.items(6, 2)]):
        for trait, field, given, loss in (
            ("expects_load", "expected_load", routing.expected_load is not None, "load"),
            ("has_logits", "logits", routing.logits is not None, "z"),
            ("merges", "execution=Merge", isinstance(routing.execution, Merge), None),
        ):
            claim = getattr(traits, trait)
            require(
                claim == given,
                f"{trait}={claim} is declared, but routing.{field} is "
                f"{'given' if given else 'missing'}",
                f"declare {trait}={given}, or {'leave out' if given else 'give'} {field}",
            )
            if claim and loss:
                value = LOSSES[loss](routing)
                why = f"losses.{loss} is {value}"
                hint = f"give routing.{field} its documented shape and range"
                require(value.dim() == 0 and value.isfinite(), why, hint)
        if traits.expects_load:
            assert routing.expected_load is not None
            require(
                routing.expected_load.shape == (subject.num_experts,)
                and (routing.expected_load >= 0).all()
                and (routing.expected_load.requires_grad or not traits.learned),
                "expected_load is not a differentiable (E,) tensor of non-negative numbers",
                "sum each expert's probability of being chosen over the real items",
            )
