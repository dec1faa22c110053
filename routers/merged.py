"""Experts' parameters are averaged, and one network works on each group."""

from collections.abc import Callable

from ._router import ROUTERS, Router, Traits
from .blocks import softmax
from .gates import GateSpec
from .plugins import unknown
from .routing import Items, Routing

#: What shares a merged expert: how many equal parts of a batch there are.
PARTS: dict[str, Callable[[Items], int]] = {
    "group": lambda items: items.groups,
    "item": len,
}


@ROUTERS.register("merged")
class Merged(Router):
    """Experts' parameters are averaged for each group: a soft mixture at one expert's cost.

    ``y_i = FFN(x_i; sum_e p_ge theta_e)`` with ``p_g = softmax(mean over group g of h(x_i))``;
    of the linear gate that is the score of the group's mean. Nothing is chosen, so all experts
    learn from everything. An item costs one expert, a group the merging of ``E`` of them. Load
    is the gate mass in rows (``Routing.by_merge``), and so is what balance terms compare. A
    group's mean holds later items, so causal tasks refuse this router; experts of several forms
    (``mixed``, ``null``) have no mean.

    Source: SMEAR, Muqeeth et al. 2023, 2306.03745, equation 2; without their layer norm of the
    gate's input, and with ``moe.expert_dropout`` left out.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        over: what has an expert merged for it: a ``group`` (a sequence of tokens), or every
            ``item``, for banks that work on whole samples.
        gate: what scores the experts.

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
        length = len(items) // max(parts, 1)
        real = items.real().view(parts, length, 1)
        scores = self.gate(items).view(parts, length, self.num_experts) * real
        logits = scores.sum(1) / real.sum(1).clamp_min(1)
        each = logits.repeat_interleave(length, 0)
        return Routing.by_merge(items, softmax(logits), logits=each)
