"""Top-K token choice."""

from ._router import ROUTERS, Router
from .blocks import WEIGHTINGS, build_weighting, check_k, jittered, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("topk")
class TopK(Router):
    """Each item selects the K experts with the highest scores.

    ``S = topk(h)``, weighted by ``softmax(h[S])`` or ``softmax(h)[S]``.
    Source: GShard 2006.16668; Switch 2101.03961, equations 1 and 2 (``k=1``,
    ``weighting=probability``); Mixtral 2401.04088 (``k=2``, ``weighting=renormalized``).

    Args:
        weighting: ``renormalized`` (sums to one; needs ``k`` of 2 or more) or ``probability``.
        jitter: in training the gate's input is multiplied by uniform noise in
            ``[1 - jitter, 1 + jitter]`` (Switch).

    >>> import torch
    >>> router = TopK(4, 8, k=2)
    >>> router(Items(torch.randn(5, 4))).load.sum().item()
    10
    """

    search_space = {"k": [2, 4], "weighting": list(WEIGHTINGS)}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        weighting: str = "renormalized",
        jitter: float = 0.0,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 <= jitter < 1:
            raise OptionError("jitter", jitter, "a number in [0, 1)")
        self.k = k
        self.weighting = build_weighting(k, weighting)
        self.jitter = jitter
        self.gate = self.build_gate(gate)
        self.set_traits(convex=self.weighting.convex)

    def forward(self, items: Items) -> Routing:
        if self.training:
            items = jittered(items, self.jitter)
        logits = self.gate(items)
        expert = top_k(logits, self.k)
        weight = self.weighting.weigh(self.gate.pick(items, logits, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
