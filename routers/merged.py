"""Soft merging: experts' parameters are averaged into one network per group."""

from collections.abc import Callable

from ._router import ROUTERS, Router, Traits
from .blocks import softmax
from .gates import GateSpec
from .plugins import unknown
from .routing import Items, Routing

#: Number of equal parts of a batch; each part has one merged expert.
PARTS: dict[str, Callable[[Items], int]] = {"group": lambda items: items.groups, "item": len}


@ROUTERS.register("merged")
class Merged(Router):
    """One expert per group with averaged parameters: a soft mixture at the cost of one expert.

    ``y_i = FFN(x_i; sum_e p_ge theta_e)`` with ``p_g = softmax(mean over group g of h(x_i))``;
    for a linear gate that is the score of the group's mean. Nothing is selected, so all experts
    learn from all items. An item costs one expert, a group the merging of ``E``. The load, which
    balance losses compare, is the sum of gate weights in rows (``Routing.by_merge``). A group's
    mean includes later items, so causal tasks reject this router; banks of different experts
    (``mixed``, ``null``) cannot be merged.

    Source: SMEAR, Muqeeth et al. 2023, 2306.03745, equation 2; without the layer norm of the
    gate's input and without expert dropout.

    Args:
        over: one merged expert per ``group`` (a sequence of tokens), or per ``item``, for banks
            that process whole samples.

    >>> import torch
    >>> routing = Merged(4, 8)(Items(torch.randn(6, 4), groups=2))
    >>> routing.execution.weight.shape, routing.load.sum().item()
    (torch.Size([2, 8]), 6)
    """

    traits = Traits(per_item=False, causal=False, merges=True)

    def __init__(
        self, dim: int, num_experts: int, *, over: str = "group", gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        if over not in PARTS:
            raise unknown("over", over, PARTS)
        self.over = over
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        parts = PARTS[self.over](items)
        length = items.num_items // max(parts, 1)
        real = items.real().view(parts, length, 1)
        scores = self.gate(items).view(parts, length, self.num_experts) * real
        logits = scores.sum(1) / real.sum(1).clamp_min(1)
        each = logits.repeat_interleave(length, 0)
        return Routing.by_merge(items, softmax(logits), logits=each)
