"""Top-K with null experts, which output zero."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import BUDGET_RULES, check_k, softmax, top_k
from .gates import GateSpec
from .plugins import OptionError, named
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
    the number of null choices. Instead, a bias, which changes the selection only, is updated after
    each step until an item has ``budget`` real experts on average, ``K E / (E + Z)`` by default as
    with the papers' losses. This number sizes capacities. By the rule ``nulls`` the bias is the
    ``b`` of null experts. By ``experts`` each real expert has one, and so the real ones are
    balanced as well.

    Source: AdaMoE, Zeng et al. 2024, 2406.13233 (null experts); MoE++, Jin et al. 2024,
    2410.07348, section 3 (weights; zero, copy and constant experts); the bias in place of
    their losses for nulls: Wang et al. 2024, 2408.15664. The rule ``experts``: LongCat-Flash,
    2509.01322, whose null experts copy the item, and whose update we have from a secondary text.

    Args:
        num_experts: ``E``, the real experts.
        k: choices per item, including null experts.
        nulls: ``Z``.
        rule: which experts have a bias: ``nulls`` or ``experts``.
        budget: mean number of real experts per item, above 0 and below ``k``.
        rate: step size of the bias; None for the rule's default, 0 keeps it at 0.
        gate: scores the real and the null experts.

    >>> router = NullExperts(4, 4, k=2, nulls=4)
    >>> routing = router(Items(torch.randn(8, 4)))
    >>> routing.load.sum().item() + routing.extras["counts"][0].item(), routing.experts_per_item
    (16, 1.0)
    """

    traits = Traits(convex=False)
    search_space = {"k": [2, 3, 4], "nulls": [2, 4, 8]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 3,
        nulls: int = 4,
        rule: str = "nulls",
        budget: float | None = None,
        rate: float | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if nulls < 1:
            raise OptionError("nulls", nulls, "an integer >= 1")
        check_k(k, num_experts + nulls, what="num_experts + nulls = {}")
        if budget is not None and not 0 < budget < k:
            raise OptionError("budget", budget, f"a number in (0, k={k})")
        self.k = k
        self.budget = k * num_experts / (num_experts + nulls) if budget is None else budget
        self.bias = named("rule", rule, BUDGET_RULES)(num_experts, self.budget / k, rate)
        self.num_counts = self.bias.num_counts
        self.gate = self.build_gate(gate, outputs=num_experts + nulls)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        real, null = logits.tensor_split([self.num_experts], 1)
        of_real, of_null = self.bias.parts()
        expert = top_k(torch.cat([real + of_real, null + of_null], 1), self.k)
        working = expert < self.num_experts
        extras = {"counts": self.bias.counts(expert[items.real()])} if self.training else None
        return Routing.by_item(
            items,
            expert.clamp_max(self.num_experts - 1),
            softmax(logits).gather(1, expert),
            self.num_experts,
            keep=working,
            logits=real,
            experts_per_item=self.budget,
            extras=extras,
        )

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training:
            self.bias.adapt(counts)
