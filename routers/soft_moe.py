"""Soft MoE: experts process slots, which are soft means of items."""

import torch

from ._router import ROUTERS, Router, Traits
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("soft_moe")
class SoftMoE(Router):
    """Each expert processes slots, weighted means of a group's items.

    ``L = norm(X) (s norm(Phi))``; dispatch is its softmax over items, combine that over slots.
    The default gate computes these scores. Every expert computes ``slots`` rows per group of any
    length. Each slot depends on the whole group, so causal tasks reject this router.

    Source: Puigcerver et al. 2023, 2308.00951.

    Args:
        slots: slots per expert.
        gate: scores items against slots.

    >>> router = SoftMoE(4, 8, slots=2)
    >>> router(Items(torch.randn(5, 4))).load.tolist()
    [2, 2, 2, 2, 2, 2, 2, 2]
    """

    traits = Traits(per_item=False, causal=False)
    search_space = {"slots": [1, 2, 4]}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        slots: int = 2,
        gate: GateSpec = {"name": "cosine", "project": 0, "temperature": 1.0},
    ) -> None:
        super().__init__(dim, num_experts)
        if slots < 1:
            raise OptionError("slots", slots, "an integer >= 1")
        self.slots = slots
        self.gate = self.build_gate(gate, num_experts * slots)

    def forward(self, items: Items) -> Routing:
        scores = self.gate(items)
        grouped = items.grouped(scores)
        real = items.grouped(items.real()).unsqueeze(-1)
        # a finite minimum, then zeros: a group of padding only must not give NaN
        floor = torch.finfo(scores.dtype).min
        dispatch = grouped.masked_fill(~real, floor).softmax(1) * real
        combine = grouped.softmax(2) * real
        logits = scores.view(-1, self.num_experts, self.slots).logsumexp(-1)
        return Routing.by_slot(items, dispatch, combine, self.num_experts, logits=logits)
