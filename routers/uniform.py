"""Control: round robin."""

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import check_k
from .routing import Items, Routing


@ROUTERS.register("uniform")
class Uniform(Router):
    """Control: experts in turn by position; perfect balance, independent of content.

    The ``i``-th unpadded item of a group has experts ``i K``, ``i K + 1`` … modulo ``E``, in every
    layer. The gain of a learned router over this control is the value of routing by content,
    unless positions are informative, as in images of one size. Each group starts at expert 0, so
    that groups are independent.

    Source: round robin; with one item per slot it is the fixed "identity" routing, a
    baseline of Soft MoE (Puigcerver et al. 2023, 2308.00951, table 2).

    Args:
        dim: ``D``, unused.
        k: experts per item, each with weight ``1 / k``.

    >>> Uniform(4, 4, k=1)(Items(torch.zeros(6, 4))).expert.tolist()
    [0, 1, 2, 3, 0, 1]
    """

    traits = Traits(learned=False, equivariant=False, has_logits=False)

    def __init__(self, dim: int, num_experts: int, *, k: int = 2) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        self.k = k

    def forward(self, items: Items) -> Routing:
        place = items.grouped(items.real().long()).cumsum(1).flatten() - 1
        step = torch.arange(self.k, device=place.device)
        expert = (place.unsqueeze(1) * self.k + step) % self.num_experts
        weight = torch.full_like(expert, 1 / self.k, dtype=items.x.dtype)
        return Routing.by_item(items, expert, weight, self.num_experts)
