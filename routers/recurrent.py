"""Top-K of scores that remember the layers before."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ._router import ROUTERS, Router
from .blocks import build_weighting, check_k, top_k
from .gates import GateSpec, build_gate
from .plugins import ConfigError, OptionError
from .routing import Items, Routing


@ROUTERS.register("recurrent")
class Recurrent(Router):
    """Each item selects the K experts with the highest scores of a state carried over layers.

    ``h_l = GRU(x W_l, h_{l-1})``; ``S = topk(gate(h_l))``, weighted as by ``topk``. The state of
    the nearest layer before that has one is in its routing, ``extras["state"]`` ``(N, P)``; in the
    first layer it is learned, which is ours. Layers that share routers (``moe.share_router``) share
    the GRU, and each has its own projection ``W_l`` and gate, as in the source; others have a GRU
    each.

    Source: Qiu et al. 2024 (RMoE), 2408.06793, equations 4 to 6.

    Args:
        width: ``P``, of the state.
        weighting: ``renormalized`` (sums to one; needs ``k`` of 2 or more) or ``probability``.
        gate: reads the state.

    >>> router = Recurrent(4, 8, k=2, width=3)
    >>> items = Items(torch.randn(5, 4))
    >>> first = router(items)
    >>> first.extras["state"].shape
    torch.Size([5, 3])
    >>> torch.equal(first.logits, router(replace(items, earlier=(first,))).logits)
    False
    """

    search_space = {"k": [2, 4], "width": [16, 64]}
    default_losses = {"switch": 0.01}
    not_static = "it reads routings of earlier layers, which static layers do not return"

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        width: int = 32,
        weighting: str = "renormalized",
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if width < 1:
            raise OptionError("width", width, "an integer >= 1")
        self.k = k
        self.width = width
        self.weighting = build_weighting(k, weighting)
        self.project = nn.Linear(dim, width, bias=False)
        self.gru = nn.GRUCell(width, width)
        self.start = nn.Parameter(torch.randn(width) * width**-0.5)
        self.gate = build_gate(gate, width, num_experts, "gate")
        self.set_traits(
            convex=self.weighting.convex,
            per_item=self.traits.per_item and self.gate.per_item,
            causal=self.traits.causal and self.gate.causal,
        )

    def forward(self, items: Items) -> Routing:
        state = self.gru(self.project(items.x), self._before(items))
        scored = replace(items, x=state)
        logits = self.gate(scored)
        expert = top_k(logits, self.k)
        weight = self.weighting.weigh(self.gate.pick(scored, logits, expert), logits)
        extras = {"state": state}
        return Routing.by_item(
            items, expert, weight, self.num_experts, logits=logits, extras=extras
        )

    def shared_with(self, before: Router) -> Router:
        if isinstance(before, Recurrent):
            self.gru = before.gru
        return self

    def _before(self, items: Items) -> Tensor:
        """The state of the nearest layer before, ``(N, P)``."""
        found = [each.extras["state"] for each in items.earlier if "state" in each.extras]
        if not found:
            return items.x.new_zeros(len(items), self.width) + self.start
        if found[-1].shape[1] != self.width:
            raise ConfigError(
                f"router=recurrent: an earlier layer has states of width {found[-1].shape[1]}, "
                f"this one of router.width={self.width}; give all layers the same"
            )
        return found[-1].to(items.x.dtype)
