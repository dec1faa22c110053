"""Traps 1, 2, 8, 10, 11, 13, 18 and 20: from scores to choices and weights."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from routers.blocks.selection import WEIGHTINGS
from routers.replay import Replay, weigh

from ._planted import Copy, Planted, loss_of, share


class OneRenormalized(Copy):
    def choose(self, logits):
        return logits.detach().topk(1, -1).indices


class OneDividedByItself(OneRenormalized):
    def weigh(self, logits, expert):
        p = logits.softmax(-1).gather(1, expert)
        return p / p.sum(-1, keepdim=True)


def allow_one(patch):
    patch.setattr("routers.topk.build_weighting", lambda k, weighting: WEIGHTINGS[weighting])


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
    probs = routing.unpadded(routing.probs).softmax(-1)
    return (
        routing.num_experts
        * (share(routing.requested_load) * probs.sum(0) / max(len(probs), 1)).sum()
    )


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


def own_selection(logits):
    """Where the router itself would send an item."""
    return torch.zeros_like(logits).scatter(1, logits.topk(2).indices, 1).bool()


class MaskedProbabilities(Replay):
    def forward(self, items):
        routing = super().forward(items)
        p = routing.logits.softmax(-1) * own_selection(routing.logits)
        return replace(routing, weight=p[routing.item, routing.expert])


class MaskedProbabilitiesDivided(Replay):
    def forward(self, items):
        routing = super().forward(items)
        p = routing.logits.softmax(-1) * own_selection(routing.logits)
        p = (p / (p * routing.assigned_mask).sum(-1, keepdim=True).clamp_min(1e-9)).clamp_max(1)
        return replace(routing, weight=p[routing.item, routing.expert])


class MaskedScores(Replay):
    def forward(self, items):
        routing = super().forward(items)
        scores = routing.logits.masked_fill(~own_selection(routing.logits), -1e4)
        return replace(weigh(routing, scores, self.weighting), logits=routing.logits)


class SigmoidOverSum(Copy):
    """As public libraries divide: exact for ordinary scores, but tiny ones shrink."""

    eps = 1e-9

    def weigh(self, logits, expert):
        scores = logits.gather(1, expert).sigmoid()
        return scores / (scores.sum(-1, keepdim=True) + self.eps)


class SigmoidOverSumTiny(SigmoidOverSum):
    eps = 1e-20


PLANTS = [
    Planted(1, OneRenormalized, "gradients", "sends no gradient to gate.weight"),
    Planted(1, OneDividedByItself, "gradients", "use the probability"),
    Planted(1, allow_one, "options_learn", "with k=1: the task sends no gradient"),
    Planted(2, RandomSecond, "eval_deterministic", "two routes for one input"),
    Planted(2, JitterInEval, "eval_deterministic", "only if self.training"),
    Planted(2, ThresholdDrawn, "eval_deterministic", "eval (draws|gives two)"),
    Planted(8, SoftmaxTopKSoftmax, "softmax_once", "the softmax of the chosen probabilities"),
    Planted(8, ProbsTwice, "softmax_once", "normalized entropy"),
    Planted(8, LogitsAreProbs, "softmax_once", "they are probabilities"),
    Planted(8, softmax_again, "loss_values", "read probs as given"),
    Planted(10, HalfPrecisionGate, "full_precision_inside", "rounded inside"),
    Planted(10, UnderAutocast, "bf16", "autocast"),
    Planted(11, JitterOnLogits, "jitter_scales_input", "multiply items.x and not the logits"),
    Planted(11, LogitsInPlace, "scores_untouched", "changes the output of gate in place"),
    Planted(13, LinearSinkhorn, "extreme_scores", "compute with logarithms"),
    Planted(13, EndlessSinkhorn, "work_is_bounded", "bound every loop"),
    Planted(18, MaskedProbabilities, "recorded_experts_learn", "would not select have weight 0"),
    Planted(18, MaskedProbabilitiesDivided, "recorded_experts_learn", "softmax.h.recorded.."),
    Planted(18, MaskedScores, "recorded_experts_learn", "send no gradient to their scores"),
    Planted(20, SigmoidOverSum, "weights_sum_as_declared", "not by scores / .sum . eps"),
    Planted(20, SigmoidOverSumTiny, "weights_sum_as_declared", "sum to 1 only within"),
]
