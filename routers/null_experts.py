"""Top-K with null experts, which output zero."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import Float32State, check_k, softmax, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("null_experts")
class NullExperts(Router):
    """Each item selects K of ``E`` experts and ``Z`` null experts, which compute nothing.

    ``S = topk([h, n + b])`` over real and null experts; the real ones in ``S`` have the weights
    ``softmax([h, n])[S]``. So an easy item uses few experts or none, a hard one up to K: a null
    expert's output is zero and the routing omits its assignments.

    Null experts that copy an item or replace it by a constant have an output and are part of
    the bank: ``expert=mixed expert.parts=[mlp, {name: "null", count: 2, kinds: [copy, constant]}]``
    under this router is MoE++, whose zero experts are these ``Z``.

    ``probs`` is the gate's distribution over the real experts only, so balance losses do not see
    the number of null choices. Instead, the bias ``b``, which changes the selection only, is
    updated by ``rate`` after each step, until null experts receive ``Z / (E + Z)`` of all choices
    on average, as with the papers' losses. The expected number of real experts per item, which
    sizes capacities, is ``K E / (E + Z)``.

    Source: AdaMoE, Zeng et al. 2024, 2406.13233 (null experts); MoE++, Jin et al. 2024,
    2410.07348, section 3 (weights; zero, copy and constant experts); the bias in place of
    their losses for nulls: Wang et al. 2024, 2408.15664.

    Args:
        num_experts: ``E``, the real experts.
        k: choices per item, including null experts.
        nulls: ``Z``.
        rate: step size of ``b``; 0 keeps it at 0.
        gate: scores the real and the null experts.

    >>> router = NullExperts(4, 4, k=2, nulls=4)
    >>> routing = router(Items(torch.randn(8, 4)))
    >>> routing.load.sum().item() + routing.extras["counts"][0].item(), routing.experts_per_item
    (16, 1.0)
    """

    traits = Traits(convex=False)
    search_space = {"k": [2, 3, 4], "nulls": [2, 4, 8]}
    default_losses = {"switch": 0.01}
    num_counts = 2

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 3,
        nulls: int = 4,
        rate: float = 0.003,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        self.bias = NullBias(num_experts, nulls, rate)
        check_k(k, num_experts + nulls, what="num_experts + nulls = {}")
        self.k = k
        self.gate = self.build_gate(gate, outputs=num_experts + nulls)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        real, null = logits.tensor_split([self.num_experts], 1)
        expert = top_k(torch.cat([real, null + self.bias.value.to(null.dtype)], 1), self.k)
        working = expert < self.num_experts
        extras = {"counts": self.bias.counts(~working[items.real()])} if self.training else None
        return Routing.by_item(
            items,
            expert.clamp_max(self.num_experts - 1),
            softmax(logits).gather(1, expert),
            self.num_experts,
            keep=working,
            logits=real,
            experts_per_item=self.k * (1 - self.bias.share),
            extras=extras,
        )

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training:
            self.bias.adapt(counts)


class NullBias(Float32State):
    """A bias added to the scores of null experts when experts are selected.

    ``b += u sign(target - null choices)``, once per step: the update of Wang et al. 2024,
    2408.15664, applied to null experts against real ones. The target is the share of ``nulls``
    in all experts, times the number of all choices; ``rate`` is ``u``.

    >>> bias = NullBias(experts=4, nulls=4, rate=0.25)
    >>> bias.adapt(bias.counts(torch.tensor([[True, True, False]])))
    >>> bias.value.item()
    -0.25
    """

    value: Tensor

    def __init__(self, experts: int, nulls: int, rate: float) -> None:
        super().__init__()
        if nulls < 1:
            raise OptionError("nulls", nulls, "an integer >= 1")
        if not 0 <= rate < 1:
            raise OptionError("rate", rate, "a number in [0, 1)")
        self.share = nulls / (experts + nulls)
        self.rate = rate
        self.register_buffer("value", torch.zeros(()))

    def counts(self, null: Tensor) -> Tensor:
        """Numbers of null choices and of all choices, for ``null`` ``(n, K)`` bool."""
        return torch.stack([null.sum(), torch.full_like(null, 1, dtype=torch.int64).sum()])

    def adapt(self, counts: Tensor) -> None:
        """Update the bias after a step with this sum of ``counts``."""
        null, total = counts
        self.value += self.rate * (self.share * total - null).sign()
