"""Control: top-K with a frozen random gate."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, renormalized_weights, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("random_fixed")
class RandomFixed(Router):
    """Control: each item selects the K best experts of a frozen random gate.

    Similar items share experts, but which ones is not learned. With ``growth`` the number of
    experts rises in training from K to all, in proportion to the steps, rounded to the nearest; in
    evaluation it may be any. Source: the randomly initialized and fixed router of SMoE-Dropout,
    Chen et al. 2023, 2303.01610, and the linear one of the schedules in the authors' code.

    Args:
        k: experts per item, weighted by the softmax over their scores.
        growth: optimizer steps after which an item has all experts; 0 keeps K.
        eval_k: experts per item in evaluation; None for all with ``growth``, else for K.

    >>> router = RandomFixed(4, 8)
    >>> sum(p.numel() for p in router.parameters() if p.requires_grad)
    0
    """

    traits = Traits(learned=False)

    steps: Tensor

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        growth: int = 0,
        eval_k: int | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if growth < 0:
            raise OptionError("growth", growth, "an integer >= 0")
        self.k = k
        self.growth = growth
        self.eval_k = (num_experts if growth else k) if eval_k is None else eval_k
        check_k(self.eval_k, num_experts, "eval_k")
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=growth > 0)
        self.gate = self.build_gate(gate).requires_grad_(False)

    @property
    def adapts(self) -> bool:
        return self.growth > 0

    @property
    def k_in_training(self) -> int:
        """Experts per item after the steps so far."""
        if not self.growth:
            return self.k
        done = min(int(self.steps), self.growth)
        return self.k + round((self.num_experts - self.k) * done / self.growth)

    def adapt(self, load: Tensor) -> None:
        if self.training and self.growth:
            self.steps += 1

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = top_k(logits, self.k_in_training if self.training else self.eval_k)
        weight = renormalized_weights(logits.gather(1, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
