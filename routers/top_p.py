"""Top-P routing: experts up to a total probability."""

import math

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import softmax
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("top_p")
class TopP(Router):
    """Each item selects its most likely experts until their probabilities reach a threshold.

    ``S`` is the shortest prefix of ``p = softmax(h)``, sorted, whose sum is at least ``P``;
    weights are ``p[S]``. Confident items have one expert, others more. Without a loss on the
    entropy of ``p``, gates learn to activate more and more experts.

    Source: Huang et al. 2024, 2403.07652, section 3.

    Args:
        threshold: ``P``, in (0, 1]; 1 selects every expert.

    >>> router = TopP(3, 3, threshold=0.8)
    >>> _ = router.gate.weight.data.copy_(torch.eye(3))
    >>> x = torch.tensor([[0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.4, 0.35, 0.25]]).log()
    >>> router(Items(x)).assigned_mask.sum(1).tolist()
    [1, 2, 3]
    """

    traits = Traits(convex=False)
    search_space = {"threshold": {"low": 0.2, "high": 0.8}}
    default_losses = {"switch": 0.01, "entropy": 0.0001}

    def __init__(
        self, dim: int, num_experts: int, *, threshold: float = 0.4, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < threshold <= 1:
            raise OptionError("threshold", threshold, "a number in (0, 1]")
        self.threshold = threshold if threshold < 1 else math.inf  # sums may round up to 1
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        probs = softmax(logits)
        ordered, expert = probs.detach().sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        keep = torch.zeros_like(ordered, dtype=torch.bool)
        keep = keep.scatter(1, expert, before < self.threshold)
        return Routing.by_mask(items, probs, keep=keep, logits=logits)
