"""The traps of this field, each planted in a copy of a router or of what it uses: the kit sees it.

Every row of ``PLANTS`` names a trap, what was planted and the check that has to catch it. The
checks named must pass where nothing was planted. ``pytest -s`` prints the table.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

import routers
from routers import Router, Routing, Traits, _checks, losses
from routers._check import _run, name
from routers._checks_subject import CheckError
from routers._limit import DROP_ORDERS
from routers._noise import jittered
from routers._rounding import ROUNDINGS
from routers._select import WEIGHTINGS
from routers.expert_choice import ExpertChoice
from routers.noisy_topk import NoisyTopK
from routers.soft_moe import SoftMoE
from routers.topk import TopK

CHECKS = {name(check): check for check in _checks.CHECKS}


class Copy(TopK):
    """Top-K in steps, so that one of them can be done wrongly."""

    def scores(self, items):
        return self.gate(jittered(items, self.jitter) if self.training else items)

    def choose(self, logits):
        return logits.detach().topk(self.k, -1).indices

    def weigh(self, logits, expert):
        return logits.gather(1, expert).softmax(-1)

    def forward(self, items):
        logits = self.scores(items)
        expert = self.choose(logits)
        weight = self.weigh(logits, expert)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


# ---- 1: one expert, whose weight is divided by itself ----


class OneRenormalized(Copy):
    def choose(self, logits):
        return logits.detach().topk(1, -1).indices


class OneDividedByItself(OneRenormalized):
    def weigh(self, logits, expert):
        p = logits.softmax(-1).gather(1, expert)
        return p / p.sum(-1, keepdim=True)


def allow_one(patch):
    patch.setattr("routers.topk.check_learns", lambda k, weighting: WEIGHTINGS[weighting])


# ---- 2: chance in eval ----


class RandomSecond(Copy):
    def choose(self, logits):
        first = logits.detach().argmax(-1, keepdim=True)
        other = torch.randint(1, self.num_experts, first.shape)
        return torch.cat([first, (first + other) % self.num_experts], -1)


class JitterInEval(Copy):
    def scores(self, items):
        factor = torch.empty_like(items.x).uniform_(0.9, 1.1)
        return self.gate(replace(items, x=items.x * factor))


class ThresholdDrawn(Copy):
    def weigh(self, logits, expert):
        weight = super().weigh(logits, expert)
        return torch.where(torch.rand(len(weight), 1) < 2 * weight, weight, 0.0)


# ---- 3 and 4: capacity ----


def round_down(patch):
    patch.setitem(ROUNDINGS, "ceil", ROUNDINGS["floor"])


def heaviest_first(patch):
    patch.setitem(DROP_ORDERS, "position", DROP_ORDERS["probability"])


def always_renormalize(patch):
    drop = Routing.drop
    patch.setattr(
        Routing, "drop", lambda self, keep, renormalize=False: drop(self, keep, renormalize=True)
    )


# ---- 5: what f is ----


def loss_of(name):
    """A decorator: plants a function in the place of a loss."""

    def planted(function):
        @wraps(function)
        def plant(patch):
            patch.setitem(losses._parts, name, function)

        return plant

    return planted


def share(counts):
    return counts / counts.sum().clamp_min(1)


def mean_probs(routing):
    return routing.prob_sums / routing.num_real.clamp_min(1)


@loss_of("switch")
def first_choice_only(routing):
    best = routing.over_real(routing.probs).argmax(-1)
    counts = torch.bincount(best, minlength=routing.num_experts)
    return routing.num_experts * (share(counts) * mean_probs(routing)).sum()


@loss_of("switch")
def after_drops(routing):
    return routing.num_experts * (share(routing.load) * mean_probs(routing)).sum()


@loss_of("switch")
def k_at_balance(routing):
    items = routing.num_real.clamp_min(1)
    return routing.num_experts * (routing.demand / items * mean_probs(routing)).sum()


# ---- 6 and 7: load and variation ----


def one_threshold(patch):
    def chance(scores, k):
        threshold = scores.noisy.topk(k, -1).values[..., -1:]
        return torch.special.ndtr((scores.clean - threshold) / scores.std)

    patch.setattr("routers.noisy_topk.chance_of_top_k", chance)


class NoNoiseInEval(NoisyTopK):
    def forward(self, items):
        if not self.training:
            self.scores.floor = -math.log(2)
        return super().forward(items)


@loss_of("importance")
def sample_variance(routing):
    return routing.importance.var() / routing.importance.mean().square().clamp_min(1e-30)


@loss_of("importance")
def with_a_root(routing):
    return (routing.importance.var(correction=0).sqrt() / routing.importance.mean()) ** 2


# ---- 8: two softmaxes ----


class SoftmaxTopKSoftmax(Copy):
    def weigh(self, logits, expert):
        return logits.softmax(-1).gather(1, expert).softmax(-1)


class ProbsTwice(Copy):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, given_probs=routing.logits.softmax(-1).softmax(-1))


class LogitsAreProbs(Copy):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, logits=routing.logits.softmax(-1))


@loss_of("switch")
def softmax_again(routing):
    probs = routing.over_real(routing.probs).softmax(-1)
    return routing.num_experts * (share(routing.demand) * probs.sum(0) / max(len(probs), 1)).sum()


# ---- 9: a bias that balances ----


class Biased(Copy):
    """Loss-free balancing, without a fault."""

    rate = 0.01

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.bias = self.make_bias(num_experts)

    def make_bias(self, num_experts):
        module = routers._kept.Kept()
        module.register_buffer("value", torch.zeros(num_experts))
        return module

    def choose(self, logits):
        return super().choose(logits + self.bias.value)

    def move(self, load):
        load = load.double()
        self.bias.value.data += self.rate * (load.mean() - load).sign()

    def adapt(self, load):
        self.move(load)


class BiasWeighs(Biased):
    def weigh(self, logits, expert):
        return super().weigh(logits + self.bias.value, expert)


class BiasInLogits(Biased):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, logits=routing.logits + self.bias.value)


class BiasIsParameter(Biased):
    def make_bias(self, num_experts):
        module = nn.Module()
        module.value = nn.Parameter(torch.zeros(num_experts))
        return module


class BiasIsCast(Biased):
    def make_bias(self, num_experts):
        module = nn.Module()
        module.register_buffer("value", torch.zeros(num_experts))
        return module


class BiasIsNotSaved(Biased):
    def make_bias(self, num_experts):
        module = routers._kept.Kept()
        module.register_buffer("value", torch.zeros(num_experts), persistent=False)
        return module


class BiasIsAnAttribute(Biased):
    def make_bias(self, num_experts):
        module = nn.Module()
        module.value = torch.zeros(num_experts)
        return module


class BiasMovesInEval(Biased):
    def forward(self, items):
        routing = super().forward(items)
        if not self.training:
            self.move(routing.load)
        return routing


class BiasMovesInForward(Biased):
    """Once per pass: twice where activations are recomputed, often where gradients accumulate."""

    def forward(self, items):
        routing = super().forward(items)
        if self.training:
            self.move(routing.load)
        return routing

    def adapt(self, load):
        pass


class BiasFeedsTheBusy(Biased):
    rate = -0.01


# ---- 10 and 11: precision and jitter ----


class HalfPrecisionGate(Copy):
    def scores(self, items):
        return F.linear(items.x.bfloat16(), self.gate.weight.bfloat16()).to(items.x.dtype)


class UnderAutocast(Copy):
    def __call__(self, items):
        return nn.Module.__call__(self, items.in_full_precision())


class JitterOnLogits(Copy):
    def scores(self, items):
        logits = self.gate(items)
        if self.training and self.jitter:
            logits = logits * torch.empty_like(logits).uniform_(1 - self.jitter, 1 + self.jitter)
        return logits


class LogitsInPlace(Copy):
    def choose(self, logits):
        second = logits.detach()
        first = second.argmax(-1, keepdim=True)
        second.scatter_(1, first, -1e4)
        return torch.cat([first, second.argmax(-1, keepdim=True)], -1)


# ---- 12: who sees whom ----


class ChoiceThatClaimsCausal(ExpertChoice):
    traits = Traits(per_item=False, causal=True, convex=False)


class ChoiceThatClaimsItems(ExpertChoice):
    traits = Traits(per_item=True, causal=False, equivariant=False, convex=False)


class SlotsThatClaimCausal(SoftMoE):
    traits = Traits(per_item=False, causal=True)


# ---- 13: overflow, and loops without a bound ----


class LinearSinkhorn(Copy):
    def normalised(self, plan):
        for _ in range(5):
            plan = plan / plan.sum(1, keepdim=True)
            plan = plan / plan.sum(0, keepdim=True)
        return plan

    def weigh(self, logits, expert):
        plan = self.normalised(logits.exp())
        return super().weigh(plan, expert)


class EndlessSinkhorn(LinearSinkhorn):
    def normalised(self, plan):
        plan = plan.clamp(1e-9, 1e9)
        while (plan.sum(1) - 1).abs().max() > 0:
            plan = plan / plan.sum(1, keepdim=True)
            plan = plan / plan.sum(0, keepdim=True)
        return plan


# ---- 14: losses in module globals ----

KEPT: list[Any] = []


class KeepsItsLoss(Copy):
    def forward(self, items):
        routing = super().forward(items)
        KEPT.append(losses["switch"](routing))
        return routing


class KeepsItsLogits(Copy):
    def scores(self, items):
        self.last = self.gate(items)
        return self.last


# ---- 15: idle experts ----


class GateForEachExpert(Copy):
    """An expert's own scorer runs where the expert is chosen, so idle ones leave the graph."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.own = nn.ModuleList(nn.Linear(dim, 1) for _ in range(num_experts))

    def forward(self, items):
        routing = super().forward(items)
        weight = routing.weight.clone()
        for e in routing.expert.unique().tolist():
            at = routing.expert == e
            weight[at] = weight[at] * self.own[e](items.x[routing.item[at]]).squeeze(1).sigmoid()
        return replace(routing, weight=weight)


class NaNForTheIdle(Copy):
    """An expert without rows divides by none of them."""

    def forward(self, items):
        routing = super().forward(items)
        sums = routing.weight.new_zeros(self.num_experts).index_add(
            0, routing.expert, routing.weight
        )
        mean = (sums / routing.load).expand(len(items), -1)
        return replace(routing, logits=routing.logits + 0 * mean)


# ---- 16: padding ----


class RoutesPadding(Copy):
    def forward(self, items):
        return replace(super().forward(replace(items, mask=None)), mask=items.mask)


class ReadsPadding(Copy):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        grouped = items.grouped(self.gate(items))
        return (grouped + grouped.mean(1, keepdim=True)).flatten(0, 1)


@loss_of("switch")
def padding_counts(routing):
    probs = routing.probs.sum(0) / max(routing.num_items, 1)
    return routing.num_experts * (share(routing.demand) * probs).sum()


def padding_takes_places(patch):
    def everyone(routing):
        return torch.ones(routing.groups, routing.num_items // routing.groups, dtype=torch.bool)

    patch.setattr("routers._limit._real", everyone)


# ---- 17: layers in one pot ----


def pooled(patch):
    seen: list[tuple[Any, Any]] = []

    def switch(routing):
        seen.append((share(routing.demand), mean_probs(routing)))
        demand, probs = (torch.stack(parts).mean(0) for parts in zip(*seen, strict=True))
        return routing.num_experts * (demand * probs).sum()

    patch.setitem(losses._parts, "switch", switch)


def loss_in_a_global(patch):
    total: list[Any] = []
    switch = losses["switch"]

    def adding(routing):
        total.append(switch(routing))
        return sum(total)

    patch.setitem(losses._parts, "switch", adding)


# ---- the table ----

SOUND = {Copy, Biased, *routers.routers.values()}

Plant = type[Router] | Callable[[pytest.MonkeyPatch], Any]


@dataclass(frozen=True)
class Planted:
    """A trap, the plant, the check that catches it, and the router a patch is tried on."""

    trap: int
    plant: Plant
    check: str
    says: str
    router: str = "topk"

    @property
    def label(self) -> str:
        return f"{self.trap:02d}-{self.plant.__name__.strip('_<>')}-{self.check}"

    def where(self, patch: pytest.MonkeyPatch) -> type[Router] | str:
        """The router to check, once the trap is planted."""
        if isinstance(self.plant, type):
            return self.plant
        self.plant(patch)
        return self.router

    def sound(self) -> type[Router] | str:
        """The same without the trap."""
        if not isinstance(self.plant, type):
            return self.router
        return next(kind for kind in self.plant.__mro__ if kind in SOUND)


TRAPS = {
    1: "one expert with a renormalised weight: no gradient",
    2: "chance in eval",
    3: "capacity without an agreed rounding",
    4: "drop order and renormalising",
    5: "f of the load term",
    6: "estimator of the load",
    7: "CV at perfect balance",
    8: "softmax of a softmax",
    9: "bias balancing",
    10: "half precision in the gate",
    11: "jitter, and logits changed in place",
    12: "seeing the future or batch-mates",
    13: "Sinkhorn overflows, loops without a bound",
    14: "losses in module globals",
    15: "idle experts",
    16: "padding",
    17: "losses pooled over layers",
}
PLANTS = [
    Planted(1, OneRenormalized, "gradients", "sends no gradient to gate.weight"),
    Planted(1, OneDividedByItself, "gradients", "use the probability itself"),
    Planted(1, allow_one, "options_learn", "with k=1: the task sends no gradient"),
    Planted(2, RandomSecond, "eval_deterministic", "two routes for one input"),
    Planted(2, JitterInEval, "eval_deterministic", "only where self.training"),
    Planted(2, ThresholdDrawn, "eval_deterministic", "eval (draws|gives two)"),
    Planted(3, round_down, "capacity", "capacity"),
    Planted(4, heaviest_first, "capacity_is_causal", "sort by place and not by weight"),
    Planted(4, always_renormalize, "drops_keep_weights", "changed a weight that stays"),
    Planted(5, first_choice_only, "loss_values", "count all K choices"),
    Planted(5, after_drops, "loss_values", "before drops it was"),
    Planted(5, k_at_balance, "balance_term", "perfectly even, not 1"),
    Planted(6, one_threshold, "expected_load", "largest of the other scores", "noisy_topk"),
    Planted(6, NoNoiseInEval, "finite_from_zero", "all parameters at 0, in eval"),
    Planted(6, sample_variance, "loss_values", "losses.importance is"),
    Planted(7, with_a_root, "finite_from_zero", "its gradient is not finite", "soft_mixture"),
    Planted(8, SoftmaxTopKSoftmax, "softmax_once", "the softmax of the chosen probabilities"),
    Planted(8, ProbsTwice, "softmax_once", "normalised entropy"),
    Planted(8, LogitsAreProbs, "softmax_once", "they are probabilities"),
    Planted(8, softmax_again, "loss_values", "read probs as it is"),
    Planted(9, BiasWeighs, "adapt_selects", "selects and never weighs"),
    Planted(9, BiasInLogits, "adapt_selects", "losses would fight the bias"),
    Planted(9, BiasIsParameter, "adapt_moves_buffers", "the optimizer moves as well"),
    Planted(9, BiasIsCast, "adapt_moves_buffers", "keep it in float32"),
    Planted(9, BiasIsNotSaved, "adapt_moves_buffers", "which no checkpoint holds"),
    Planted(9, BiasIsAnAttribute, "state_dict_round_trip", "with register_buffer"),
    Planted(9, BiasMovesInEval, "forward_keeps_state", "once per optimizer step"),
    Planted(9, BiasMovesInForward, "forward_keeps_state", "once per optimizer step"),
    Planted(9, BiasFeedsTheBusy, "adapt_balances", "lower that of those above"),
    Planted(10, HalfPrecisionGate, "full_precision_inside", "rounded inside"),
    Planted(10, UnderAutocast, "bf16", "autocast"),
    Planted(11, JitterOnLogits, "jitter_scales_input", "multiply items.x and not the logits"),
    Planted(11, LogitsInPlace, "scores_untouched", "writes into what gate gave"),
    Planted(12, ChoiceThatClaimsCausal, "causal", "change earlier routes"),
    Planted(12, ChoiceThatClaimsItems, "per_item", "changes with its batch-mates"),
    Planted(12, SlotsThatClaimCausal, "causal", "change earlier routes"),
    Planted(13, LinearSinkhorn, "extreme_scores", "compute with logarithms"),
    Planted(13, EndlessSinkhorn, "work_is_bounded", "bound every loop"),
    Planted(14, KeepsItsLoss, "nothing_kept", "leaves [0-9]+ tensors behind"),
    Planted(14, KeepsItsLogits, "nothing_kept", "keep no loss, score or activation"),
    Planted(14, loss_in_a_global, "nothing_kept", "leaves [0-9]+ tensors behind"),
    Planted(15, GateForEachExpert, "idle_experts", "refuses unused parameters"),
    Planted(15, NaNForTheIdle, "shapes_and_ranges", "infinity or NaN"),
    Planted(16, RoutesPadding, "padding_is_not_routed", "padding was routed"),
    Planted(16, ReadsPadding, "padding_is_not_read", "leave padding out"),
    Planted(16, padding_counts, "padding_is_as_if_absent", "losses.switch differs"),
    Planted(16, padding_takes_places, "capacity", "capacity"),
    Planted(17, pooled, "terms_stand_alone", "a collapsed layer hides"),
]


@pytest.fixture(autouse=True)
def forgets():
    yield
    KEPT.clear()


def catch(planted: Planted, patch: pytest.MonkeyPatch) -> dict[str, CheckError]:
    """What the kit says of the planted trap, by check: of the one that has to, if it is there."""
    kit = [check for check in _checks.CHECKS if name(check) == planted.check]
    candidate = planted.where(patch)
    found = {}
    for check in kit:
        try:
            _run(check, candidate)
        except CheckError as broken:
            found[name(check)] = broken
    return found


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.label)
def test_caught(planted, monkeypatch):
    found = catch(planted, monkeypatch)
    assert planted.check in found, "the kit does not see it"
    assert re.search(planted.says, str(found[planted.check]))


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.label)
def test_not_seen_where_nothing_is_planted(planted):
    _run(CHECKS[planted.check], planted.sound())


def test_all_traps_are_planted():
    assert {planted.trap for planted in PLANTS} == set(TRAPS) == set(range(1, 18))
    table = Table("trap", "", "planted", "on", "caught by", title="Traps, and what catches them")
    for planted in PLANTS:
        on = planted.sound()
        on = on if isinstance(on, str) else on.__name__
        table.add_row(
            str(planted.trap), TRAPS[planted.trap], planted.plant.__name__, on, planted.check
        )
    Console(width=140).print(table)
