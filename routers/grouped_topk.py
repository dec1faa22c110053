"""Group-limited top-K: each item reaches a bounded number of expert groups, such as devices."""

import torch
from torch import Tensor

from ._router import ROUTERS
from .blocks import LOAD_RULES, SigmoidTopKBase, top_k
from .gates import GateSpec
from .plugins import OptionError


@ROUTERS.register("grouped_topk")
class GroupedTopK(SigmoidTopKBase):
    """Each item selects its K best experts from its best groups of experts.

    The ``E`` experts form equal groups, for instance those of one device. A group's score is
    the sum of its two largest ``sigma(h) + b``; the experts outside of the best groups score
    ``-inf``, and ``S`` is the top K of all. Weights and bias are those of ``sigmoid``, with the
    options ``weighting``, ``scale``, ``rule`` (``sign``, ``proportional`` or ``pid``) and ``rate``.

    Source: node-limited routing of DeepSeek-V3 2412.19437, section 2.1.2; by devices in
    DeepSeek-V2 2405.04434, section 2.2.2, where a group's score is its maximum.

    Args:
        num_experts: ``E``, a multiple of ``expert_groups``.
        expert_groups: number of groups.
        kept_groups: number of groups that an item may reach.

    >>> import torch
    >>> from routers import Items
    >>> router = GroupedTopK(4, 8, k=2, expert_groups=4, kept_groups=1)
    >>> first, second = router(Items(torch.randn(1, 4))).expert.tolist()
    >>> first // 2 == second // 2
    True
    """

    rules = LOAD_RULES
    search_space = {"k": [2, 3], "rule": list(LOAD_RULES)}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        expert_groups: int = 4,
        kept_groups: int = 2,
        weighting: str = "renormalized",
        scale: float = 1.0,
        rule: str = "sign",
        rate: float | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(
            dim, num_experts, k=k, weighting=weighting, scale=scale, rule=rule, rate=rate, gate=gate
        )
        check_groups(num_experts, k, expert_groups, kept_groups)
        self.expert_groups = expert_groups
        self.kept_groups = kept_groups

    def select(self, scores: Tensor) -> Tensor:
        return top_k(in_best_groups(scores, self.expert_groups, self.kept_groups), self.k)


def check_groups(num_experts: int, k: int, groups: int, kept: int) -> None:
    """Raise ``OptionError`` unless ``kept`` of ``groups`` equal groups hold ``k`` experts."""
    if groups < 1 or num_experts % groups:
        expected = f"a divisor of num_experts={num_experts}"
        raise OptionError("expert_groups", groups, expected)
    least = -(-k * groups // num_experts)
    if not least <= kept <= groups:
        expected = f"an integer in [{least}, expert_groups={groups}], to hold k={k} experts"
        raise OptionError("kept_groups", kept, expected)


def in_best_groups(scores: Tensor, groups: int, kept: int) -> Tensor:
    """Mask scores ``(N, E)`` outside of each item's best groups with ``-inf``.

    Of ``groups`` equal groups, ``kept`` stay: those with the largest sums of their two best scores.

    >>> in_best_groups(torch.tensor([[0.9, 0.1, 0.6, 0.5]]), groups=2, kept=1).tolist()
    [[-inf, -inf, 0.6000, 0.5]]
    """
    grouped = scores.view(*scores.shape[:-1], groups, scores.shape[-1] // groups)
    best = top_k(grouped.topk(min(2, grouped.shape[-1]), -1).values.sum(-1), kept)
    closed = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter(-1, best, False)
    return grouped.masked_fill(closed.unsqueeze(-1), -torch.inf).flatten(-2)
