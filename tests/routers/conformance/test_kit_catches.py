"""The kit can fail: for each broken router, the check that catches it, and what it says."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import routers
from routers import CheckError, ConfigError, Router, Routing, Traits, check_router
from routers.blocks import require_projections
from routers.conformance.checks.scores import MAX_CALLS
from routers.conformance.harness import RouterUnderTest
from routers.conformance.results import check_name
from routers.conformance.suite import CHECKS, results_of, run_checks

from .faulty_routers._all import PLANTS


class Sound(Router):
    """Top-2 of a linear gate, with nothing wrong.

    Source: Shazeer et al. 2017, 1701.06538.

    >>> from routers import Items
    >>> Sound(4, 4)(Items(torch.zeros(3, 4))).load.sum().item()
    6
    """

    k = 2

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        if num_experts < self.k:
            raise ConfigError(f"num_experts={num_experts} is invalid: expected {self.k} or more")
        self.w = nn.Parameter(torch.randn(num_experts, dim))

    def scores(self, items):
        return F.linear(items.x, self.w.to(items.x.dtype))

    def weights(self, logits, expert):
        return logits.gather(1, expert).softmax(-1)

    def forward(self, items):
        logits = self.scores(items)
        expert = logits.detach().topk(self.k, -1).indices
        weight = self.weights(logits, expert)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


class RenormalizedTopOne(Sound):
    k = 1


class RenormalizedTopOneByDivision(RenormalizedTopOne):
    def weights(self, logits, expert):
        p = logits.softmax(-1).gather(1, expert)
        return p / p.sum(-1, keepdim=True)


class Detached(Sound):
    def weights(self, logits, expert):
        return super().weights(logits, expert).detach()


class HalfTheGradient(Sound):
    def weights(self, logits, expert):
        weight = super().weights(logits, expert)
        return (weight + weight.detach()) / 2


class ClaimsToBeFrozen(Sound):
    traits = Traits(learned=False)


class NothingToLearn(Sound):
    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.w.requires_grad_(False)


class RandomAtEval(Sound):
    def scores(self, items):
        clean = super().scores(items)
        return clean + torch.randn_like(clean)


class DrawsAtEval(Sound):
    def scores(self, items):
        torch.rand(1)
        return super().scores(items)


class LeaksTheFuture(Sound):
    traits = Traits(per_item=False)

    def scores(self, items):
        grouped = items.grouped(super().scores(items))
        return (grouped + grouped[:, -1:]).flatten(0, 1)


class LeaksTheFutureInTraining(LeaksTheFuture):
    def scores(self, items):
        return super().scores(items) if self.training else Sound.scores(self, items)


class LeaksTheLength(Sound):
    traits = Traits(per_item=False)

    def scores(self, items):
        tilt = torch.arange(self.num_experts, dtype=items.x.dtype) * items.group_length
        return super().scores(items) + tilt


class DependsOnBatchMates(Sound):
    def scores(self, items):
        grouped = items.grouped(super().scores(items))
        return (grouped + grouped.cumsum(1)).flatten(0, 1)


class DependsOnOtherGroups(Sound):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        logits = super().scores(items)
        return logits + logits[items.real()].sum(0)


class DependsOnThePlace(Sound):
    traits = Traits(per_item=False)

    def scores(self, items):
        place = torch.arange(len(items)) % max(items.group_length, 1)
        return super().scores(items) + F.one_hot(place % self.num_experts, self.num_experts) * 9


class RoutesPadding(Sound):
    def forward(self, items):
        return replace(super().forward(replace(items, mask=None)), mask=items.mask)


class ReadsPadding(Sound):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        grouped = items.grouped(super().scores(items))
        return (grouped + grouped.sum(1, keepdim=True)).flatten(0, 1)


class CountsPadding(Sound):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        tilt = torch.arange(self.num_experts, dtype=items.x.dtype) * items.group_length
        return super().scores(items) + tilt


class DividesByRealItems(Sound):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        real = items.grouped(items.real()).unsqueeze(-1)
        grouped = items.grouped(super().scores(items))
        mean = (grouped * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return (grouped + mean).flatten(0, 1)


class MaskChangesThePath(Sound):
    def scores(self, items):
        return super().scores(items) if items.mask is None else -super().scores(items)


class WeightsDoNotSum(Sound):
    def weights(self, logits, expert):
        return logits.softmax(-1).gather(1, expert)


class HalfPrecisionInside(Sound):
    def scores(self, items):
        return F.linear(items.x.bfloat16(), self.w.bfloat16()).to(items.x.dtype)


class HalfPrecisionScores(Sound):
    def scores(self, items):
        return super().scores(items).bfloat16().to(items.x.dtype)


class HalfPrecisionOutside(Sound):
    def scores(self, items):
        return super().scores(items).bfloat16()


class UnderAutocast(Sound):
    def __call__(self, items):
        return nn.Module.__call__(self, items.in_full_precision())


class WritesIntoItems(Sound):
    def scores(self, items):
        items.x.mul_(1.5)
        return super().scores(items)


class HiddenState(Sound):
    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.tilt = torch.randn(num_experts)

    def scores(self, items):
        return super().scores(items) + self.tilt.to(items.x.dtype)


class MovesInForward(Sound):
    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, items):
        if self.training:
            self.steps += 1
        return super().forward(items)


class AdaptsToNaN(Sound):
    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.register_buffer("tilt", torch.zeros(num_experts))

    def adapt(self, load):
        self.tilt.copy_(load / load.sum())  # 0 / 0 for a step without items

    def scores(self, items):
        return super().scores(items) + self.tilt


class HoldsALambda(Sound):
    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.act = lambda x: x


class SameExpertTwice(Sound):
    def forward(self, items):
        logits = self.scores(items)
        expert = logits.detach().topk(1, -1).indices.expand(-1, 2)
        return Routing.by_item(
            items, expert, torch.full(expert.shape, 0.5), self.num_experts, logits=logits
        )


class WrongFanOut(Sound):
    def forward(self, items):
        return replace(super().forward(items), fan_out=1)


class WrongFanIn(Sound):
    def forward(self, items):
        return replace(super().forward(items), fan_out=None, fan_in=2)


class SentinelExpert(Sound):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, expert=routing.expert - 1)


class ForgetsGroups(Sound):
    def forward(self, items):
        return replace(super().forward(items), groups=1)


class MinusInfinity(Sound):
    def scores(self, items):
        logits = super().scores(items)
        last = torch.arange(self.num_experts) == self.num_experts - 1
        return logits.masked_fill(last, -torch.inf)


class ProbsAreNoDistribution(Sound):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, given_probs=routing.probs * 2)


class RequestedTooLittle(Sound):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, num_experts=self.num_experts + 1)


class NaNAtBalance(Sound):
    def scores(self, items):
        logits = super().scores(items)
        return logits / logits.square().sum(-1, keepdim=True).sqrt()


class NaNGradientInAGroupOfPadding(Sound):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        real = items.grouped(items.real()).unsqueeze(-1)
        grouped = items.grouped(super().scores(items)) * real
        return (grouped + grouped.square().sum(1, keepdim=True).sqrt()).flatten(0, 1)


class NeedsAnItem(Sound):
    def scores(self, items):
        return super().scores(items) - items.x.detach().amax() * 0


class NoLogits(Sound):
    def forward(self, items):
        return replace(super().forward(items), logits=None)


class NoExpectedLoad(Sound):
    traits = Traits(expects_load=True)


class ClaimsToMerge(Sound):
    traits = Traits(merges=True)


class MergesInSecret(routers.ROUTERS["merged"]):
    """Banks whose parameters have no mean would not be refused."""

    traits = replace(routers.ROUTERS["merged"].traits, merges=False)


class SecretlyNeedsIds(Sound):
    def scores(self, items):
        return super().scores(items) + (items.ids % 2).unsqueeze(1)


class ClaimsToNeedIds(Sound):
    traits = Traits(needs_ids=True)


class VagueAboutIds(ClaimsToNeedIds):
    def scores(self, items):
        if items.ids is None:
            raise ConfigError("something is missing")
        return super().scores(items)


class ClaimsToNeedTasks(Sound):
    traits = Traits(needs_task=True)


class ClaimsToNeedRecorded(Sound):
    traits = Traits(needs_recorded=True)


class ClaimsToNeedProjections(Sound):
    traits = Traits(needs_projections=True)


class ReadsNoProjections(Sound):
    traits = Traits(needs_projections=True)

    def scores(self, items):
        require_projections(items, self.num_experts, "faulty")
        return super().scores(items)


class SelectsForItself(routers.ROUTERS["replay"]):
    def forward(self, items):
        routing = super().forward(items)
        other = (routing.expert + 1) % self.num_experts
        return replace(routing, expert=other)


class PromisesMoreThanItsClass(Sound):
    traits = Traits(causal=False, per_item=False)

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.set_traits(causal=True)


class SpaceWithoutOption(Sound):
    search_space = {"k": [1, 2]}  # noqa: RUF012


class SpaceBeyondRange(routers.ROUTERS["topk"]):
    search_space = {"k": [99]}  # noqa: RUF012


class FlatAtOneEnd(Sound):
    """What a sweep may try at the end of its range has to learn as well."""

    search_space = {"heat": {"low": 0.0, "high": 1.0}}  # noqa: RUF012

    def __init__(self, dim: int, num_experts: int, *, heat: float = 1.0) -> None:
        super().__init__(dim, num_experts)
        self.heat = heat

    def weights(self, logits, expert):
        return super().weights(logits * self.heat, expert)


class Unlimited(Routing):
    """It has room for all."""

    def limit(self, factor, order="position", **settings):
        return self


class NoCapacityInTraining(Sound):
    def forward(self, items):
        routing = super().forward(items)
        return Unlimited(**vars(routing)) if self.training else routing


class BalanceWithoutLoss(Sound):
    default_losses = {"swich": 0.1}  # noqa: RUF012


class NoSource(Sound):
    """Top-2 by somebody.

    >>> 1
    1
    """


class NoExample(Sound):
    """Top-2 (Shazeer et al. 2017)."""


class NoTraits(Sound):
    traits = {"learned": True}  # noqa: RUF012


checks = SimpleNamespace(**{check.__name__: check for check in CHECKS})

CAUGHT = [
    (RenormalizedTopOne, checks.check_gradients, "no gradient to w .*use the probability"),
    (RenormalizedTopOneByDivision, checks.check_gradients, "no gradient to w"),
    (Detached, checks.check_gradients, "no gradient to w"),
    (ClaimsToBeFrozen, checks.check_gradients, "learned=False is declared, but w require"),
    (NothingToLearn, checks.check_gradients, "no parameter requires a gradient"),
    (HalfTheGradient, checks.check_gradients_are_exact, "slope is"),
    (NaNGradientInAGroupOfPadding, checks.check_finite_gradients, "a group of padding alone"),
    (NaNAtBalance, checks.check_finite_from_zero, "all parameters at 0"),
    (RandomAtEval, checks.check_eval_deterministic, "two routes for one input"),
    (DrawsAtEval, checks.check_eval_deterministic, "draws from the global"),
    (WritesIntoItems, checks.check_inputs_untouched, "forward changed items.x in place"),
    (MovesInForward, checks.check_forward_keeps_state, "forward changed steps"),
    (AdaptsToNaN, checks.check_adapt, "not finite"),
    (HiddenState, checks.check_state_dict_round_trip, "state dict of another"),
    (DependsOnBatchMates, checks.check_per_item, "changes with its batch-mates"),
    (DependsOnOtherGroups, checks.check_groups_independent, "another group"),
    (LeaksTheFuture, checks.check_causal, "from place 1 on change earlier"),
    (LeaksTheFutureInTraining, checks.check_causal, "from place 1 on change earlier"),
    (LeaksTheLength, checks.check_causal, "a group ends at place"),
    (DependsOnThePlace, checks.check_equivariant, "depends on its place"),
    (RoutesPadding, checks.check_padding_is_not_routed, "an item of padding was routed"),
    (ReadsPadding, checks.check_padding_is_not_read, "content of padding"),
    (CountsPadding, checks.check_padding_is_as_if_absent, "same items without padding"),
    (MaskChangesThePath, checks.check_full_mask_is_no_mask, "a mask of True"),
    (DividesByRealItems, checks.check_padded_groups, "real items"),
    (WeightsDoNotSum, checks.check_weights_sum_as_declared, "sum to 1 only within"),
    (HalfPrecisionInside, checks.check_full_precision_inside, "so x is rounded inside"),
    (HalfPrecisionScores, checks.check_full_precision_inside, "scores are rounded"),
    (HalfPrecisionOutside, checks.check_bf16, "is torch.bfloat16 with bf16 input"),
    (UnderAutocast, checks.check_bf16, "autocast"),
    (SameExpertTwice, checks.check_layout_fields, "the same expert twice"),
    (WrongFanOut, checks.check_layout_fields, "fan_out=1"),
    (WrongFanIn, checks.check_layout_fields, "fan_in=2"),
    (SentinelExpert, checks.check_shapes_and_ranges, "is outside 0 to 3"),
    (ForgetsGroups, checks.check_shapes_and_ranges, "num_items, num_experts, groups"),
    (MinusInfinity, checks.check_shapes_and_ranges, "infinity or NaN"),
    (ProbsAreNoDistribution, checks.check_switch_at_balance, "do not sum to one"),
    (RequestedTooLittle, checks.check_shapes_and_ranges, "num_items, num_experts, groups"),
    (NoLogits, checks.check_declared_fields, "has_logits=True"),
    (NoExpectedLoad, checks.check_declared_fields, "expects_load=True"),
    (
        ClaimsToMerge,
        checks.check_declared_fields,
        "merges=True is declared, but routing.execution=Merge is",
    ),
    (MergesInSecret, checks.check_declared_fields, "merges=False is declared"),
    (ClaimsToNeedIds, checks.check_needs_ids, "works without ids"),
    (VagueAboutIds, checks.check_needs_ids, "does not name ids"),
    (ClaimsToNeedTasks, checks.check_needs_task, "works without task"),
    (ClaimsToNeedRecorded, checks.check_needs_recorded, "works without recorded"),
    (ClaimsToNeedProjections, checks.check_needs_projections, "works without projections"),
    (ReadsNoProjections, checks.check_needs_projections, "do not change routes"),
    (SelectsForItself, checks.check_needs_recorded, "experts are not those recorded"),
    (PromisesMoreThanItsClass, checks.check_traits_may_only_shrink, "declares causal"),
    (SpaceWithoutOption, checks.check_search_space, "does not take"),
    (SpaceBeyondRange, checks.check_search_space, "no tested size accepts it"),
    (
        FlatAtOneEnd,
        checks.check_options_learn,
        "with heat=0.0: the task sends no gradient to w",
    ),
    (NoCapacityInTraining, checks.check_capacity, "kept .* of .*, capacity"),
    (BalanceWithoutLoss, checks.check_default_losses, "which is no loss"),
    (NoSource, checks.check_docstring, "names no source"),
    (NoExample, checks.check_docstring, "shows no example"),
    (WrongFanOut, checks.check_docstring, "has no docstring"),
    (NoTraits, checks.check_traits_declared, "traits is a dict"),
]


@pytest.mark.usefixtures("one_size")
def test_sound_router_passes():
    check_router(Sound)


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    CAUGHT,
    ids=[f"{broken.__name__}-{check.__name__}" for broken, check, _ in CAUGHT],
)
def test_broken_router_is_caught(broken, check, message):
    with pytest.raises(CheckError, match=f"(?s){message}"):
        check(RouterUnderTest(broken, 8, 4))


RAISES = [
    (HoldsALambda, checks.check_copy_and_pickle, (pickle.PicklingError, AttributeError)),
    (NeedsAnItem, checks.check_empty_and_single, (RuntimeError, IndexError)),
    (SecretlyNeedsIds, checks.check_needs_ids, TypeError),
]


def test_every_check_can_fail():
    seen = {check_name(check) for _, check, _ in [*CAUGHT, *RAISES]}
    assert seen | {planted.check for planted in PLANTS} == {check_name(c) for c in CHECKS}


@pytest.mark.parametrize(("broken", "check", "error"), RAISES)
def test_broken_router_that_raises_is_caught(broken, check, error):
    with pytest.raises(error):
        check(RouterUnderTest(broken, 8, 4))


@pytest.mark.usefixtures("one_size")
def test_report_lists_everything_with_reason_and_cure():
    with pytest.raises(CheckError) as caught:
        check_router(RenormalizedTopOneByDivision)
    report = str(caught.value)
    assert report.startswith("RenormalizedTopOneByDivision fails 2 of ")
    assert "docstring: the class has no docstring\n  hint: describe the strategy" in report
    assert "gradients: the task sends no gradient to w" in report
    assert isinstance(caught.value, AssertionError)


def test_whatever_a_router_raises_becomes_a_verdict():
    some = [checks.check_empty_and_single, checks.check_causal]
    verdicts = {v.check: v for v in results_of(some, NeedsAnItem, {})}
    assert "amax" in verdicts["empty_and_single"].failure.why
    assert verdicts["causal"].failure is None


def test_options_reach_the_router():
    with pytest.raises(CheckError, match=r"router.k=1"):
        check_router("topk", k=1)
    options = {"k": 1, "weighting": "probability"}
    assert not any(v.failure for v in results_of([checks.check_layout_fields], "topk", options))


def test_router_that_refuses_every_size_is_reported():
    with pytest.raises(CheckError, match=r"refuses every num_experts.*router.k=99"):
        check_router("topk", k=99)


@pytest.mark.usefixtures("one_size")
def test_unpromised_traits_are_not_tested():
    notes = {v.check: v.note for v in run_checks("expert_choice")}
    assert {check for check, note in notes.items() if note == "not declared"} == {
        "per_item",
        "causal",
        "causal_in_eval",
        "capacity_is_causal",
        "weights_sum_as_declared",
        "expected_load",
        "recorded_experts_learn",
    }


def test_decorator_names_every_pair():
    mark = routers.parametrize_with_checks(["topk", Sound]).mark
    ids = [case.id for case in mark.args[1]]
    assert len(ids) == 2 * len(CHECKS)
    assert "topk-causal" in ids
    assert "Sound-gradients" in ids


class Lengthy(Sound):
    """So long that it counts as endless; ends after all, for a kit that runs it on."""

    forwards = 0

    def forward(self, items):
        type(self).forwards += 1
        for _ in range(2 * MAX_CALLS):
            items.x.sum()
        return super().forward(items)


def test_decorated_checks_all_stop_where_a_pass_does_not_end():
    Lengthy.forwards = 0
    for case in routers.parametrize_with_checks([Lengthy]).mark.args[1]:
        router, check = case.values
        with pytest.raises(
            CheckError, match=r"one forward pass .* more than (?s:.*)bound every loop"
        ):
            check(router)
    assert Lengthy.forwards == 1
