"""Soft MoE: experts process slots, which are soft means of items."""

from collections.abc import Callable

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .gates import GateSpec
from .plugins import OptionError, named
from .routing import Items, Routing


def soft(scores: Tensor, real: Tensor, axis: int) -> Tensor:
    """Softmax along an axis of scores ``(G, L, S)``, of real items only; 0 for padding."""
    # a finite minimum, then zeros: a group of padding only must not give NaN
    floor = torch.finfo(scores.dtype).min
    return scores.masked_fill(~real, floor).softmax(axis) * real


def uniform(scores: Tensor, real: Tensor, axis: int) -> Tensor:
    """Equal weights along an axis of scores ``(G, L, S)``, of real items only; 0 for padding."""
    return soft(torch.zeros_like(scores), real, axis)


#: Dispatch and combine weights, ``(scores (G, L, S), real (G, L, 1), axis) -> (G, L, S)``.
HALVES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"soft": soft, "uniform": uniform}


@ROUTERS.register("soft_moe")
class SoftMoE(Router):
    """Each expert processes slots, weighted means of a group's items.

    ``L = norm(X) (s norm(Phi))``; dispatch is its softmax over items, combine that over slots.
    The default gate computes these scores. Every expert computes ``slots`` rows per group of any
    length. Each slot depends on the whole group, so causal tasks reject this router. Either half
    may be uniform, to measure what the other contributes; if both are, nothing is learned.

    Source: Puigcerver et al. 2023, 2308.00951; uniform halves: table 2.

    Args:
        slots: slots per expert.
        dispatch: ``soft``, or ``uniform``: every slot is the mean of the group's items.
        combine: ``soft``, or ``uniform``: every item has the mean output of all slots.
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
        dispatch: str = "soft",
        combine: str = "soft",
        gate: GateSpec = {"name": "cosine", "project": 0, "temperature": 1.0},
    ) -> None:
        super().__init__(dim, num_experts)
        if slots < 1:
            raise OptionError("slots", slots, "an integer >= 1")
        self._dispatch = named("dispatch", dispatch, HALVES)
        self._combine = named("combine", combine, HALVES)
        self.slots = slots
        learned = "soft" in (dispatch, combine)
        self.gate = self.build_gate(gate, num_experts * slots).requires_grad_(learned)
        # with a uniform combine the scores are not those of experts for items
        self.set_traits(learned=learned, has_logits=combine == "soft")

    def forward(self, items: Items) -> Routing:
        scores = self.gate(items)
        grouped = items.grouped(scores)
        real = items.grouped(items.real()).unsqueeze(-1)
        logits = None
        if self.traits.has_logits:
            logits = scores.view(-1, self.num_experts, self.slots).logsumexp(-1)
        return Routing.by_slot(
            items,
            self._dispatch(grouped, real, 1),
            self._combine(grouped, real, 2),
            self.num_experts,
            logits=logits,
        )
