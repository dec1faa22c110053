"""As many experts as score above zero, K of them on average."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import Float32State
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("relu")
class ReLU(Router):
    """Every item takes the experts it scores above zero; a price on gate mass keeps them few.

    ``w = ReLU(h)``, continuous in the scores. The ``sparsity`` losses charge gate mass the price
    ``lambda``, which the routing carries; after every optimizer step it becomes
    ``lambda * alpha^sign(active - k)`` for the step's mean number of active experts. Each layer
    has a price of its own. An item that scores no expert above zero gets none. A gate without a
    bias can turn experts off only where items lie off centre, as after a norm with a bias.

    Source: ReMoE, Wang et al. 2024, 2412.14711, sections 3.2 to 3.4; one price there for all
    layers together.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        k: active experts per item to aim at, on average.
        alpha: how fast the price follows, above 1.
        start: of the price, above 0; it stays between this and its inverse.
        gate: what scores the experts.

    >>> router = ReLU(4, 8, k=2, start=0.5, alpha=2.0)
    >>> router.adapt_from_counts(torch.tensor([30, 10]))  # 3 of 8 were active
    >>> round(router.sparsity_coefficient.value.item(), 6)
    1.0
    """

    traits = Traits(convex=False)
    search_space: ClassVar[Mapping[str, Any]] = {"k": [1, 2, 4]}
    default_losses: ClassVar[Mapping[str, float]] = {"balanced_sparsity": 1.0}
    num_counts = 2

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: float = 2.0,
        alpha: float = 1.2,
        start: float = 1e-8,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < k <= num_experts:
            raise OptionError("k", k, f"a number above 0, at most num_experts={num_experts}")
        self.k = k
        self.sparsity_coefficient = SparsityCoefficient(start, alpha)
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        weight = logits.relu()
        total = weight.sum(-1, keepdim=True)
        extras = {"sparsity_coefficient": self.sparsity_coefficient.value.clone()}
        if self.training:
            real = items.real()
            extras["counts"] = torch.stack([(weight[real] > 0).sum(), real.sum()])
        return Routing.by_mask(
            items,
            weight,
            keep=weight > 0,
            logits=logits,
            probs=weight / torch.where(total > 0, total, 1.0),
            experts_per_item=self.k,
            extras=extras,
        )

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training:
            self.sparsity_coefficient.follow((counts[0] - self.k * counts[1]).item())


class SparsityCoefficient(Float32State):
    """What a unit of gate mass costs: a factor up or down at every step, within bounds.

    Source: ReMoE, Wang et al. 2024, 2412.14711, section 3.3.

    Args:
        start: least price, and the first; its inverse is the greatest.
        alpha: the factor.

    >>> price = SparsityCoefficient(0.5, 2.0)
    >>> price.follow(excess=3)
    >>> price.value.item()
    1.0
    """

    value: Tensor

    def __init__(self, start: float, alpha: float) -> None:
        super().__init__()
        if not 1 < alpha <= 10:
            raise OptionError("alpha", alpha, "a number above 1, at most 10")
        if not 0 < start < 1:
            raise OptionError("start", start, "a number between 0 and 1")
        self.start = start
        self.alpha = alpha
        self.register_buffer("value", torch.tensor(float(start)))

    def follow(self, excess: float) -> None:
        """Rise where there is more than there should be, fall where there is less."""
        sign = (excess > 0) - (excess < 0)
        self.value.mul_(self.alpha**sign).clamp_(self.start, 1 / self.start)
