"""Control: random experts for every item at every step."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, seeded_generator, top_k
from .routing import Items, Routing


@ROUTERS.register("stochastic")
class Stochastic(Router):
    """Control: each item is assigned to K random experts; nothing is learned.

    ``e ~ Uniform(experts)`` with weight ``1 / K``, drawn for each item at each training step. In
    eval ``seed`` determines the draws, without replacement until every expert has been drawn: the
    ``i``-th unpadded item of any group always has the same experts, so that results are
    deterministic and independent of other items.

    Source: THOR, Zuo et al. 2021, 2110.04260, section 3; without its consistency loss, which
    compares two passes of the whole network.

    Args:
        dim: ``D``, unused.
        seed: random seed of the draws in eval.

    >>> router = Stochastic(4, 8).eval()
    >>> x = torch.zeros(16, 4)
    >>> router(Items(x)).expert.tolist() == router(Items(x)).expert.tolist()
    True
    """

    traits = Traits(learned=False, equivariant=False, has_logits=False)
    not_static = "each call makes a random generator"

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
        """Experts by position in the group, from consecutive shuffles of all experts."""
        e, generator = self.num_experts, seeded_generator(self.seed)
        shuffles = torch.rand(items.group_length // e + 1, e, generator=generator).argsort(1)
        place = items.grouped(items.real().long()).cumsum(1).flatten().sub(1).clamp_min(0)
        turn = (place.unsqueeze(1) + torch.arange(self.k, device=place.device)) % e
        return shuffles.to(place.device)[place // e].gather(1, turn)
