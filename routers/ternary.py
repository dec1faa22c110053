"""Top-K over experts with a sign, and null experts."""

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("ternary")
class Ternary(Router):
    """Each item adds, subtracts or leaves out experts: K choices among ``+``, ``-`` and null.

    ``p = softmax([h+, h- - 1, h0 - 10])`` over ``E`` experts, the same experts with a negative sign
    and ``Z`` null experts; ``S = topk(p)``. An expert has the weight ``p+ - p-`` of its choices,
    over the sum of ``p`` over the real choices in ``S`` and all nulls. A null choice computes
    nothing, so an item has K experts or fewer, and rarely fewer before the null scores have grown.
    ``logits`` are ``log(exp h+ + exp(h- - 1))``, so that both signs of an expert count together.

    Source: TC-MoE, Yan et al. 2025 (ICLR, https://openreview.net/forum?id=dsP91M4hDL), in the form
    of the authors' code, whose constants 1 and 10 are used. ``switch`` is ours, in place of the
    paper's balance and reward losses.

    Args:
        k: choices per item.
        nulls: ``Z``.
        gate: scores the experts with either sign.
        null_gate: scores the null experts.

    >>> router = Ternary(2, 2, k=1, nulls=1)
    >>> _ = router.gate.weight.data.zero_(), router.null_gate.weight.data.zero_()
    >>> router.gate.weight.data[3] = 9.0
    >>> routing = router(Items(torch.ones(1, 2)))
    >>> routing.expert.tolist(), round(routing.weight.item(), 3)
    ([1], -1.0)
    """

    traits = Traits(convex=False)
    search_space = {"k": [2, 3, 4], "nulls": [1, 2]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        nulls: int = 1,
        gate: GateSpec = "linear",
        null_gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if nulls < 1:
            raise OptionError("nulls", nulls, "an integer >= 1")
        check_k(k, 2 * num_experts + nulls, what="2 num_experts + nulls = {}")
        self.k = k
        self.gate = self.build_gate(gate, outputs=2 * num_experts)
        self.null_gate = self.build_gate(null_gate, outputs=nulls, option="null_gate")

    def forward(self, items: Items) -> Routing:
        e = self.num_experts
        plus, minus = torch.split(self.gate(items), e, 1)
        scores = torch.cat([plus, minus - 1, self.null_gate(items) - 10], 1)
        p = softmax(scores)
        chosen = torch.zeros_like(p, dtype=torch.bool).scatter(1, top_k(scores, self.k), True)
        real = torch.where(chosen, p, 0)[:, : 2 * e]
        total = real.sum(1, keepdim=True) + p[:, 2 * e :].sum(1, keepdim=True)
        plus, minus = torch.split(real / total, e, 1)
        return Routing.by_mask(
            items,
            plus - minus,
            chosen[:, :e] | chosen[:, e : 2 * e],
            logits=scores[:, :e].logaddexp(scores[:, e : 2 * e]),
            extras={"log_partition": scores.logsumexp(1)},
        )
