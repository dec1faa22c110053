"""Items are dealt out to experts, evenly and as well as can be."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ._router import Router, Traits, routers
from .blocks.auction import auction
from .gates import GateSpec, pick
from .routing.items import Items
from .routing.routing import Routing

#: Up to so many items the optimum takes milliseconds; of 4,096 items and 64 experts it takes
#: 5 to 20 s on one core, the auction mostly 0.1 to 0.7 s.
_EXACT = 256


@routers.register("base_assignment")
class BaseAssignment(Router):
    """In training items are dealt out evenly, so that the sum of their scores is largest.

    ``a = argmax sum_t x_t . c_a(t)``, where no expert gets more than ``ceil(n / E)`` of a
    group's ``n`` items: a linear assignment, exact for up to 256 items and nearly so
    above (``auction``). In eval an item goes to its ``argmax_e x . c_e``. The weight is
    ``sigmoid(x . c_a)``. Balance in training needs no loss; in eval nothing enforces it.

    Source: BASE layers, Lewis et al. 2021, 2103.16716, equations 1 to 3 and algorithm 1.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        gate: what scores the pairs.

    >>> router = BaseAssignment(4, 2)
    >>> router(Items(torch.randn(6, 4))).load.tolist()
    [3, 3]
    """

    traits = Traits(per_item=False, causal=False, convex=False)

    def __init__(self, dim: int, num_experts: int, *, gate: GateSpec = "linear") -> None:
        super().__init__(dim, num_experts)
        self.gate = self._use_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = logits.detach().argmax(1)
        if self.training:
            place = torch.arange(len(items), device=expert.device)
            for group in items.grouped(place):
                real = group[items.real()[group]]
                expert[real] = dealt_out(logits[real])
        expert = expert.unsqueeze(1)
        weight = pick(self.gate, items, logits, expert).sigmoid()
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


def dealt_out(scores: Tensor) -> Tensor:
    """An expert for each item, ``(n,)``, none with more than ``ceil(n / E)``.

    >>> dealt_out(torch.tensor([[3.0, 0.0], [2.0, 1.0]])).tolist()
    [0, 1]
    """
    n, experts = scores.shape
    places = -(-n // experts)
    finite = np.nan_to_num(scores.detach().cpu().double().numpy())
    if n > _EXACT:
        return torch.from_numpy(auction(finite, places)).to(scores.device)
    _, seat = linear_sum_assignment(finite.repeat(max(places, 1), 1), maximize=True)
    return torch.from_numpy(seat // max(places, 1)).to(scores.device)
