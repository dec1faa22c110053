"""Hierarchical noisy top-K: a gate selects branches, then a gate per branch selects experts."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import (
    NoisyLogits,
    NoisyScores,
    build_weighting,
    check_k,
    num_branches,
    top_k,
    top_k_probability,
)
from .gates import GateSpec
from .routing import Items, Routing


@ROUTERS.register("hierarchical")
class Hierarchical(Router):
    """Two levels of noisy top-K gates: first branches, then experts within them.

    ``y = sum_i sum_j Gp_i G_ij E_ij``: ``E`` experts form equal branches. The primary gate
    selects ``primary_k`` branches, the secondary gate of each of them ``k`` of its experts; an
    item has ``primary_k * k`` experts, and ``weighting`` applies within each level. The expected
    load is ``Load_p,i * Load_i(X^i)_j / |X^i|``, which has a gradient for the primary gate too.

    Source: Shazeer et al. 2017, 1701.06538, appendix B, equations 12 to 14.

    Args:
        branches: number of branches, a divisor of ``E``; 0 for the smallest one >= its root.
        primary_k: branches per item; the first level is dense if all are selected.
        k: experts per item within a branch.
        weighting: ``probability`` or ``renormalized`` (the paper's; needs both ``k >= 2``).
        gate: scores the branches, and another one the experts.

    >>> router = Hierarchical(4, 16, branches=4)
    >>> router(Items(torch.randn(5, 4))).load.sum().item()
    10
    """

    traits = Traits(convex=False, expects_load=True)
    search_space = {"primary_k": [1, 2], "k": [1, 2]}
    default_losses = {"importance": 0.1, "load": 0.1}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        branches: int = 0,
        primary_k: int = 2,
        k: int = 1,
        weighting: str = "probability",
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        self.branches = num_branches(num_experts, branches)
        self.size = num_experts // self.branches
        check_k(primary_k, self.branches, "primary_k", "branches={}")
        check_k(k, self.size, what="num_experts / branches = {}")
        build_weighting(primary_k, weighting, "primary_k")
        self.weighting = build_weighting(k, weighting)
        self.primary_k, self.k = primary_k, k
        self.primary = NoisyScores(self.build_gate(gate, self.branches), dim, self.branches)
        self.secondary = NoisyScores(self.build_gate(gate), dim, num_experts)
        self.set_traits(convex=self.weighting.convex)

    def forward(self, items: Items) -> Routing:
        first = self.primary(items)
        second = NoisyLogits(*(s.view(-1, self.branches, self.size) for s in self.secondary(items)))
        branch = top_k(first.noisy, self.primary_k)  # (N, Kp)
        kept = second.noisy.gather(1, branch.unsqueeze(-1).expand(-1, -1, self.size))
        inner = top_k(kept, self.k)  # (N, Kp, K)
        outer = self.weighting.weigh(first.noisy.gather(1, branch), first.noisy)
        weight = outer.unsqueeze(-1) * self.weighting.weigh(kept.gather(2, inner), kept)
        factors = self._load_factors(items.real(), first, second, branch)
        joint = first.noisy.softmax(-1).unsqueeze(-1) * second.noisy.softmax(-1)
        return Routing.by_item(
            items,
            (branch.unsqueeze(-1) * self.size + inner).flatten(1),
            weight.flatten(1),
            self.num_experts,
            logits=(first.noisy.unsqueeze(-1) + second.noisy).flatten(1),
            probs=joint.flatten(1),
            expected_load=factors[0] * (factors[1] / factors[2].clamp_min(1)),
            extras={"load_factors": factors},
        )

    def _load_factors(
        self, real: Tensor, first: NoisyLogits, second: NoisyLogits, branch: Tensor
    ) -> Tensor:
        """``(3, E)``: ``Load_p,i``, ``Load_i(X^i)_j`` and ``|X^i|``, sums over items."""
        sent = torch.zeros_like(first.noisy).scatter(1, branch, 1.0) * real.unsqueeze(1)
        primary = (top_k_probability(first, self.primary_k) * real.unsqueeze(1)).sum(0)
        secondary = (top_k_probability(second, self.k) * sent.unsqueeze(-1)).sum(0)
        of_branch = torch.stack([primary, sent.sum(0)]).unsqueeze(2).expand(-1, -1, self.size)
        return torch.stack([of_branch[0], secondary, of_branch[1]]).flatten(1)
