"""Soft merging: experts' parameters are averaged into one network per group."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ._router import ROUTERS, Router, Traits
from .blocks import softmax
from .gates import GateSpec
from .plugins import OptionError, named
from .routing import Items, Routing


def _over_groups(items: Items, scores: Tensor, _: int) -> Tensor:
    return _means(items.grouped(scores), items.grouped(items.real()))


def _over_items(items: Items, scores: Tensor, _: int) -> Tensor:
    return _means(scores.unsqueeze(1), items.real().unsqueeze(1))


def _over_segments(items: Items, scores: Tensor, segment: int) -> Tensor:
    """Means of the segment before each; of the first one, which has none before it, zeros."""
    length, groups, e = items.group_length, items.groups, scores.shape[1]
    segments = -(-length // segment)
    short = segments * segment - length
    padded = F.pad(items.grouped(scores), (0, 0, 0, short)).view(groups * segments, segment, e)
    real = F.pad(items.grouped(items.real()), (0, short)).view(groups * segments, segment)
    means = _means(padded, real).view(groups, segments, e)
    before = F.pad(means, (0, 0, 1, 0))[:, :-1]
    part = length if length <= segment else math.gcd(length, segment)  # parts of equal length
    start = torch.arange(0, length, max(part, 1), device=scores.device)
    return before[:, start // segment].flatten(0, 1)


def _means(scores: Tensor, real: Tensor) -> Tensor:
    """Means of ``(M, L, E)`` over the real items of each row, ``(M, E)``; zeros without any."""
    real = real.unsqueeze(-1)
    return (scores * real).sum(1) / real.sum(1).clamp_min(1)


#: Scores of equal parts of a batch, each with one merged expert: ``(items, scores (N, E), length
#: of a segment) -> (M, E)``.
PARTS: dict[str, Callable[[Items, Tensor, int], Tensor]] = {
    "group": _over_groups,
    "item": _over_items,
    "segment": _over_segments,
}


@ROUTERS.register("merged")
class Merged(Router):
    """One expert per group with averaged parameters: a soft mixture at the cost of one expert.

    ``y_i = FFN(x_i; sum_e p_ge theta_e)`` with ``p_g = softmax(mean over group g of h(x_i))``;
    for a linear gate that is the score of the group's mean. Nothing is selected, so all experts
    learn from all items. An item costs one expert, a group the merging of ``E``. The load, which
    balance losses compare, is the sum of gate weights in rows (``Routing.by_merge``). Banks of
    different experts (``mixed``, ``null``) cannot be merged.

    A group's mean includes later items, so causal tasks reject it. ``over=segment`` is causal:
    a group is cut into segments, and the mean of one segment gives the weights of the next. All
    experts have equal weights in the first, so a group of one segment teaches the gate nothing.

    Source: SMEAR, Muqeeth et al. 2023, 2306.03745, equation 2; without the layer norm of the
    gate's input and without expert dropout. Segments: Lory, Zhong et al. 2024, 2405.03133, which
    routes the first segment by itself without a gradient; that lets its items see later ones of
    the segment, so the equal weights are ours.

    Args:
        over: one merged expert per ``group`` (a sequence of tokens), per ``segment`` of it, or
            per ``item``, for banks that process whole samples.
        segment: items in a segment. A group whose length is no multiple is merged more often, in
            parts of the greatest common divisor.

    >>> import torch
    >>> routing = Merged(4, 8)(Items(torch.randn(6, 4), groups=2))
    >>> routing.execution.weight.shape, routing.load.sum().item()
    (torch.Size([2, 8]), 6)
    """

    traits = Traits(per_item=False, causal=False, merges=True)

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        over: str = "group",
        segment: int = 16,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if segment < 1:
            raise OptionError("segment", segment, "an integer >= 1")
        self._logits_of = named("over", over, PARTS)
        self.segment = segment
        self.gate = self.build_gate(gate)
        causal = over != "group" and type(self.gate).causal
        self.set_traits(causal=causal, equivariant=over != "segment")

    def forward(self, items: Items) -> Routing:
        logits = self._logits_of(items, self.gate(items), self.segment)
        each = logits.repeat_interleave(items.num_items // max(logits.shape[0], 1), 0)
        return Routing.by_merge(items, softmax(logits), logits=each)
