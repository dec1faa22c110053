"""Traps 5, 6, 7, 17, and 14 where a term keeps it: what balance terms count."""

import math
from typing import Any
from unittest.mock import patch

import torch

from routers import LOSSES
from routers.noisy_topk import NoisyTopK

from ._planted import Planted, loss_of, mean_probs, share


@loss_of("switch")
def first_choice_only(routing):
    best = routing.unpadded(routing.probs).argmax(-1)
    counts = torch.bincount(best, minlength=routing.num_experts)
    return routing.num_experts * (share(counts) * mean_probs(routing)).sum()


@loss_of("switch")
def after_drops(routing):
    return routing.num_experts * (share(routing.load) * mean_probs(routing)).sum()


@loss_of("switch")
def k_at_balance(routing):
    items = routing.num_real.clamp_min(1)
    return routing.num_experts * (routing.requested_load / items * mean_probs(routing)).sum()


def one_threshold(patch):
    def chance(scores, k):
        threshold = scores.noisy.topk(k, -1).values[..., -1:]
        return torch.special.ndtr((scores.clean - threshold) / scores.std)

    patch.setattr("routers.noisy_topk.top_k_probability", chance)


class NoNoiseInEval(NoisyTopK):
    def forward(self, items):
        least = 1e-2 if self.training else -math.log(2)
        with patch("routers.blocks.noise._MIN_STD", least):
            return super().forward(items)


@loss_of("importance")
def sample_variance(routing):
    return routing.importance.var() / routing.importance.mean().square().clamp_min(1e-30)


@loss_of("importance")
def with_a_root(routing):
    return (routing.importance.var(correction=0).sqrt() / routing.importance.mean()) ** 2


def pooled(patch):
    seen: list[tuple[Any, Any]] = []

    def switch(routing):
        seen.append((share(routing.requested_load), mean_probs(routing)))
        alike = [pair for pair in seen if len(pair[0]) == routing.num_experts]
        demand, probs = (torch.stack(parts).mean(0) for parts in zip(*alike, strict=True))
        return routing.num_experts * (demand * probs).sum()

    patch.setitem(LOSSES._parts, "switch", switch)


def loss_in_a_global(patch):
    total: list[Any] = []
    switch = LOSSES["switch"]

    def adding(routing):
        total.append(switch(routing))
        return sum(total)

    patch.setitem(LOSSES._parts, "switch", adding)


PLANTS = [
    Planted(5, first_choice_only, "loss_values", "count all K choices"),
    Planted(5, after_drops, "loss_values", "but before drops it was"),
    Planted(5, k_at_balance, "switch_at_balance", "expected 1"),
    Planted(6, one_threshold, "expected_load", "largest of the other scores", "noisy_topk"),
    Planted(6, NoNoiseInEval, "finite_from_zero", "all parameters at 0, in eval"),
    Planted(6, sample_variance, "loss_values", "losses.importance is"),
    Planted(7, with_a_root, "finite_from_zero", "its gradient is not finite", "soft_mixture"),
    Planted(14, loss_in_a_global, "nothing_kept", "leaves [0-9]+ tensors behind"),
    Planted(17, pooled, "losses_are_independent", "a collapsed layer hides"),
]
