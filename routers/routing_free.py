"""Experts that each compare an activation with a learned threshold, K on average."""

import math

import torch
from torch import nn

from ._router import ROUTERS, Router, Traits
from .blocks import require_projections
from .plugins import OptionError
from .relu import SparsityCoefficient
from .routing import Items, Routing


@ROUTERS.register("routing_free")
class RoutingFree(Router):
    """Each expert processes the items that activate it above its own threshold.

    ``w_e = ReLU(s_e ||x P_e|| / sqrt(P) - b_e)`` with the expert's own first projection ``P_e``
    ``(D, P)``, a learned scale and a learned threshold. No softmax, no top-K and no comparison of
    experts: an item has any number of them, possibly none. The ``sparsity`` losses hold ``k`` on
    average as for ``relu``, by a coefficient that is multiplied or divided by ``alpha`` at each
    step. Best with experts called ``factorized``, whose ``P`` is small.

    Source: Routing-Free Mixture-of-Experts, 2604.00801, and its code, where the norm is not divided
    by ``sqrt(P)``, a second threshold is a constant, and half of the balance loss is over items.

    Args:
        k: target number of active experts per item, on average.
        threshold: initial ``b``.
        alpha: factor of each update of the coefficient, in (1, 10].
        start: initial coefficient, in (0, 1); it stays in ``[start, 1 / start]``.

    >>> read = torch.tensor([[[3.0]], [[-5.0]], [[0.1]]])
    >>> router = RoutingFree(1, 3, threshold=1.0)
    >>> router(Items(torch.tensor([[2.0]]), projections=read)).weight.tolist()
    [5.0, 9.0]
    """

    traits = Traits(convex=False, needs_projections=True, has_logits=False)
    search_space = {"k": [1, 2, 4]}
    default_losses = {"balanced_sparsity": 1.0}
    num_counts = 2

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: float = 2.0,
        threshold: float = 0.5,
        alpha: float = 1.2,
        start: float = 1e-8,
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < k <= num_experts:
            raise OptionError("k", k, f"a number in (0, num_experts={num_experts}]")
        if not math.isfinite(threshold):
            raise OptionError("threshold", threshold, "a finite number")
        self.k = k
        self.sparsity_coefficient = SparsityCoefficient(start, alpha)
        self.scale = nn.Parameter(torch.ones(num_experts))
        self.threshold = nn.Parameter(torch.full((num_experts,), float(threshold)))

    def forward(self, items: Items) -> Routing:
        read = require_projections(items, self.num_experts, "routing_free")
        size = (items.x @ read).norm(dim=-1).t() * read.shape[2] ** -0.5
        weight = (self.scale.to(size.dtype) * size - self.threshold.to(size.dtype)).relu()
        total = weight.sum(-1, keepdim=True)
        extras = {"sparsity_coefficient": self.sparsity_coefficient.value.clone()}
        if self.training:
            real = items.real()
            extras["counts"] = torch.stack([(weight[real] > 0).sum(), real.sum()])
        return Routing.by_mask(
            items,
            weight,
            keep=weight > 0,
            probs=weight / torch.where(total > 0, total, 1.0),
            experts_per_item=self.k,
            extras=extras,
        )

    def adapt_from_counts(self, counts: torch.Tensor) -> None:
        if self.training:
            self.sparsity_coefficient.update((counts[0] - self.k * counts[1]).item())
