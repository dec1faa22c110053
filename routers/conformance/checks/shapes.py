"""Checks of single routings: shapes, ranges, layout, weights."""

from dataclasses import replace

import torch
from torch import Tensor

from ...losses import LOSSES
from ...plugins.errors import ConfigError
from ...routing import Routing, Slots
from ..harness import RouterUnderTest, declared, require_finite, rows_of, same, toy_mixture
from ..results import require

#: Items, and a factor of them, for which all scores of some item are far below 0.
LOW, LOW_SCALE = 120, 1000.0

CONSTRUCT = "construct the routing with Routing.by_item, by_expert, by_mask or by_slot"


def check_shapes_and_ranges(subject: RouterUnderTest) -> None:
    """Every tensor of a routing has its documented shape, type and range."""
    for items, routing in subject.routings():
        said = (routing.num_items, routing.num_experts, routing.groups)
        truth = (len(items), subject.num_experts, items.groups)
        require(
            said == truth, f"(num_items, num_experts, groups) is {said}, not {truth}", CONSTRUCT
        )
        require(routing.mask is items.mask, "the routing lost the items' mask", CONSTRUCT)
        _check_assignments(routing)
        _check_scores(routing)


def _check_assignments(routing: Routing) -> None:
    a = routing.num_assignments
    rows = rows_of(routing)
    for name, index, size in (
        ("item", routing.item, rows),
        ("expert", routing.expert, routing.num_experts),
    ):
        why = f"routing.{name} is {index.dtype} {tuple(index.shape)}, not int64 ({a},)"
        require(index.shape == (a,) and index.dtype == torch.int64, why, CONSTRUCT)
        why = f"routing.{name} is outside 0 to {size - 1}"
        hint = "index from 0, and remove padding or a sentinel such as -1"
        require(((index >= 0) & (index < size)).all(), why, hint)
    why = f"routing.weight is {tuple(routing.weight.shape)}, not ({a},) or ({a}, T)"
    require(routing.weight.shape[:1] == (a,) and routing.weight.dim() <= 2, why, CONSTRUCT)
    why = "routing.weight holds an infinity or NaN"
    hint = "look for a division by a sum of 0, and for -inf before a softmax"
    require(routing.weight.isfinite().all(), why, hint)


def _check_scores(routing: Routing) -> None:
    shape: tuple[int, ...] = (routing.num_items, routing.num_experts)
    if routing.candidates is not None:
        _check_candidates(routing)
        shape = tuple(routing.candidates.shape)
    for name, scores in (("logits", routing.logits), ("probs", routing.probs)):
        why = f"routing.{name} is not (N, E), or (N, S) where there are candidates: {shape}"
        hint = f"give {name} one row per item, padding included, and one column per expert"
        require(scores is None or scores.shape == shape, why, hint)
        why = f"routing.{name} holds an infinity or NaN"
        hint = "mask with a finite floor such as torch.finfo(dtype).min, not with -inf"
        require(scores is None or scores.isfinite().all(), why, hint)
    require((routing.probs >= 0).all(), "routing.probs has negative entries", "give a distribution")


def _check_candidates(routing: Routing) -> None:
    candidates = routing.candidates
    assert candidates is not None
    require(
        candidates.dtype == torch.int64
        and candidates.shape[:-1] == (routing.num_items,)
        and ((candidates >= 0) & (candidates < routing.num_experts)).all(),
        f"routing.candidates is {candidates.dtype} {tuple(candidates.shape)}, or is outside "
        f"0 to {routing.num_experts - 1}",
        "give (N, S) int64, the experts of the columns of logits and probs",
    )
    asked = torch.zeros_like(routing.assigned_mask).scatter(1, candidates, True)
    why = "an item has an expert that is not among its candidates"
    hint = "choose among the candidates"
    require((asked | ~routing.assigned_mask).all(), why, hint)


def check_layout_fields(subject: RouterUnderTest) -> None:
    """``fan_out`` and ``fan_in`` match the order of assignments; no pair occurs twice."""
    for items in subject.batches():
        routing = subject.in_eval(items)
        a, e = routing.num_assignments, subject.num_experts
        pair = routing.item * e + routing.expert
        why = "an item has the same expert twice"
        hint = "select without replacement, or sum the weights first"
        require(len(set(pair.tolist())) == a, why, hint)
        for field, axis, size in (("fan_out", "item", len(items)), ("fan_in", "expert", e)):
            each = getattr(routing, field)
            order = torch.arange(size).repeat_interleave(each or 0)
            why = f"{field}={each} but assignments are not ordered by {axis}"
            hint = f"use Routing.by_{axis}, or leave {field} None"
            require(each is None or torch.equal(getattr(routing, axis), order), why, hint)


@declared("convex")
def check_weights_sum_as_declared(subject: RouterUnderTest) -> None:
    """Trait ``convex``: a routed item's weights are non-negative and sum to one."""
    hint = (
        "normalize over the chosen experts, by softmax(log(scores)) and not by scores / (sum + eps)"
        ", or declare traits = Traits(convex=False)"
    )
    low = replace(subject.items(LOW), x=subject.items(LOW).x * LOW_SCALE)
    for items, routing in [*subject.routings(), (low, subject.in_eval(low))]:
        weight = routing.weight.unsqueeze(-1).flatten(1)
        require((weight >= 0).all(), "convex is declared, but a weight is negative", hint)
        total = weight.new_zeros(rows_of(routing), weight.shape[1])
        total = total.index_add(0, routing.item, weight)
        if isinstance(routing.execution, Slots):
            total = routing.execution.combine.sum(-1).flatten(-2)[..., items.real()]
        else:
            total = total[routing.assigned_mask.any(1)]
        worst = (total - 1).abs().max().item() if total.numel() else 0.0
        require(
            worst < 1e-6,
            f"convex is declared, but an item's weights sum to 1 only within {worst:.3g}",
            hint,
        )


def check_empty_and_single(subject: RouterUnderTest) -> None:
    """Batches of 0 and 1 items, and 1 expert, work and give finite numbers."""
    for candidate in (subject, replace(subject, num_experts=1)):
        batches = [candidate.items(0), candidate.items(0, groups=3), candidate.items(1)]
        try:
            candidate.build()
        except ConfigError:
            continue  # a router may need more experts than one
        for items, routing in candidate.routings(batches):
            y = toy_mixture(routing, items.x)
            require(
                y.shape[0] == len(items) and y.isfinite().all(),
                f"the mixture of {len(items)} items has shape {tuple(y.shape)} "
                "or a number that is not finite",
                "handle reductions over no items",
            )
            when = f"for {len(items)} items, {candidate.num_experts} experts"
            hint = "give probs and logits that are finite for any number of items"
            require_finite(routing.limit(1.0), when, hint)


def check_switch_at_balance(subject: RouterUnderTest) -> None:
    """``probs`` is a distribution, and the loss ``switch`` is 1 at balance."""
    e = subject.num_experts
    for _, routing in subject.routings():
        routed = _check_distribution(routing)
        if not routed.all() or not routing.requested_load.sum():
            continue
        even_demand = replace(routing, requested=torch.ones(e, dtype=torch.int64))
        even = torch.full_like(routing.to_dense(routing.probs), 1 / e)
        even_probs = replace(routing, given_probs=even, candidates=None, logits=None)
        for what, balanced in (("requested_load", even_demand), ("probs", even_probs)):
            value = LOSSES["switch"](balanced).item()
            why = f"losses.switch is {value:.6g} with a perfectly even {what}, expected 1"
            hint = "count each assignment once in the load, and give probs whose rows sum to one"
            require(abs(value - 1) < 1e-6, why, hint)


def _check_distribution(routing: Routing) -> Tensor:
    """Rows of ``probs`` sum to one, or to less for items without experts; the others, a mask."""
    total = routing.unpadded(routing.probs).sum(-1)
    routed = routing.unpadded(routing.assigned_mask).any(-1)
    require(
        same(total[routed], torch.ones_like(total[routed]), 1e-6)
        and (total[~routed] <= 1 + 1e-6).all(),
        "the rows of routing.probs do not sum to one",
        "give probs, a distribution over experts (or candidates) for every item, unless it is the "
        "softmax of logits; divide weights that are no distribution, such as relu(h), by their "
        "sum; the row of an item without experts may be 0",
    )
    return routed
