"""A random expert for every item, drawn anew at every step."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, seeded_generator, top_k
from .routing import Items, Routing


@ROUTERS.register("stochastic")
class Stochastic(Router):
    """Control: every item takes K experts by lot; nothing is learned, all experts train alike.

    ``e ~ Uniform(experts)`` with weight ``1 / K``, drawn for each item at each training step. In
    eval the lots are those of ``seed``, without replacement until every expert had its turn: the
    ``i``-th real item of any group draws the same each time, so that no result depends on chance
    or on batch-mates.

    Source: THOR, Zuo et al. 2021, 2110.04260, section 3; its consistency loss, which compares two
    passes of the whole network, is none of a router's.

    Args:
        dim: ``D``, not used.
        num_experts: ``E``.
        k: experts per item.
        seed: of the lots in eval.

    >>> router = Stochastic(4, 8).eval()
    >>> x = torch.zeros(16, 4)
    >>> router(Items(x)).expert.tolist() == router(Items(x)).expert.tolist()
    True
    """

    traits = Traits(learned=False, equivariant=False, has_logits=False)

    def __init__(self, dim: int, num_experts: int, *, k: int = 1, seed: int = 0) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        seeded_generator(seed)
        self.k = k
        self.seed = seed

    def forward(self, items: Items) -> Routing:
        expert = self._drawn(items) if self.training else self._fixed(items)
        weight = torch.full_like(expert, 1 / self.k, dtype=items.x.dtype)
        return Routing.by_item(items, expert, weight, self.num_experts)

    def _drawn(self, items: Items) -> Tensor:
        return top_k(torch.rand(len(items), self.num_experts, device=items.x.device), self.k)

    def _fixed(self, items: Items) -> Tensor:
        """Lots by place in the group: one shuffle of the experts after the other."""
        e, generator = self.num_experts, seeded_generator(self.seed)
        shuffles = torch.rand(items.group_length // e + 1, e, generator=generator).argsort(1)
        place = items.grouped(items.real().long()).cumsum(1).flatten().sub(1).clamp_min(0)
        turn = (place.unsqueeze(1) + torch.arange(self.k, device=place.device)) % e
        return shuffles.to(place.device)[place // e].gather(1, turn)
