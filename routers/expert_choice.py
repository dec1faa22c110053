"""Expert choice."""

import math

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import softmax, top_k, top_k_unsorted
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("expert_choice")
class ExpertChoice(Router):
    """Each expert selects the items of a group with the highest scores.

    An expert selects ``C = ceil(factor * n / E)`` of the group's ``n`` items. An item may have
    many experts or none: ``y_i = sum_e p_ie FFN_e(x_i)``, not renormalized, with ``p`` the
    softmax over experts. Balance is exact. An item's experts depend on the whole group,
    including later items, so causal tasks reject this router.

    Source: Zhou et al. 2022, 2202.09368.

    Args:
        factor: experts per item on average.

    >>> router = ExpertChoice(4, 2, factor=1.0)
    >>> router(Items(torch.randn(6, 4))).load.tolist()
    [3, 3]
    """

    traits = Traits(per_item=False, causal=False, convex=False)
    search_space = {"factor": [1.0, 1.5, 2.0]}

    def __init__(
        self, dim: int, num_experts: int, *, factor: float = 2.0, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < factor <= num_experts:
            raise OptionError("factor", factor, f"a number in (0, num_experts={num_experts}]")
        self.factor = factor
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        probs = softmax(logits)
        real = items.grouped(items.real())
        capacity = (self.factor * real.sum(1).double() / self.num_experts - 1e-9).ceil().long()
        places = math.ceil(self.factor * items.group_length / self.num_experts - 1e-9)
        scores = probs.detach().t().contiguous().view(self.num_experts, *real.shape)  # (E, G, L)
        if items.mask is None:
            order = top_k_unsorted(scores, places)
        else:  # in order, so that a shorter group leaves its last places empty
            order = top_k(scores.masked_fill(~real, -1.0), places)
        first = torch.arange(items.groups, device=order.device) * items.group_length
        item = (order + first.unsqueeze(1)).flatten(1)  # (E, G * C)
        keep = None
        if items.mask is not None:
            within = torch.arange(places, device=order.device) < capacity.unsqueeze(1)
            keep = within.flatten().expand_as(item)
        weight = probs.gather(0, item.t()).t()
        return Routing.by_expert(
            items, item, weight, keep=keep, logits=logits, experts_per_item=self.factor
        )
