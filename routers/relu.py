"""ReLU routing: experts with positive scores, K on average."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import Float32State
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("relu")
class ReLU(Router):
    """Each item selects the experts with positive scores; an L1 penalty controls their number.

    ``w = ReLU(h)``, continuous in the scores. The ``sparsity`` losses multiply the sum of weights
    by the sparsity coefficient ``lambda`` of the routing; each optimizer step updates it to
    ``lambda * alpha^sign(active - k)`` with the step's mean number of active experts. Each layer
    has a separate coefficient. An item without a positive score has no expert. A gate without a
    bias can deactivate experts only if items are not centred, as after a norm with a bias.

    Source: ReMoE, Wang et al. 2024, 2412.14711, sections 3.2 to 3.4, where all layers share
    one coefficient.

    Args:
        k: target number of active experts per item, on average.
        alpha: factor of each update of the coefficient, in (1, 10].
        start: initial coefficient, in (0, 1); it stays in ``[start, 1 / start]``.

    >>> router = ReLU(4, 8, k=2, start=0.5, alpha=2.0)
    >>> router.adapt_from_counts(torch.tensor([30, 10]))  # 3 of 8 were active
    >>> round(router.sparsity_coefficient.value.item(), 6)
    1.0
    """

    traits = Traits(convex=False)
    search_space = {"k": [1, 2, 4]}
    default_losses = {"balanced_sparsity": 1.0}
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
            raise OptionError("k", k, f"a number in (0, num_experts={num_experts}]")
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
            self.sparsity_coefficient.update((counts[0] - self.k * counts[1]).item())


class SparsityCoefficient(Float32State):
    """The coefficient of the sparsity loss, multiplied or divided by ``alpha`` at every step.

    Starts from ``start`` and stays in ``[start, 1 / start]``. Source: ReMoE, Wang et al. 2024,
    2412.14711, section 3.3.

    >>> coefficient = SparsityCoefficient(0.5, 2.0)
    >>> coefficient.update(excess=3)
    >>> coefficient.value.item()
    1.0
    """

    value: Tensor

    def __init__(self, start: float, alpha: float) -> None:
        super().__init__()
        if not 1 < alpha <= 10:
            raise OptionError("alpha", alpha, "a number in (1, 10]")
        if not 0 < start < 1:
            raise OptionError("start", start, "a number in (0, 1)")
        self.start = start
        self.alpha = alpha
        self.register_buffer("value", torch.tensor(float(start)))

    def update(self, excess: float) -> None:
        """Increase the coefficient if ``excess`` is positive, decrease it if negative."""
        sign = (excess > 0) - (excess < 0)
        self.value.mul_(self.alpha**sign).clamp_(self.start, 1 / self.start)
