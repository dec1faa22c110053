"""Top-any routing: every expert whose learned threshold an item exceeds."""

import torch
from torch import Tensor, nn

from ._router import ROUTERS, Router, Traits
from .blocks import Float32State, normalized_sigmoid
from .gates import GateSpec
from .routing import Items, Routing


@ROUTERS.register("top_any")
class TopAny(Router):
    """Each item selects every expert whose learned threshold its similarity exceeds.

    ``S = {e: sigma(h_e) > sigma(g_e)}`` for cosines ``h`` and thresholds ``g`` that start at 0;
    each expert in ``S`` has the weight ``1 / |S|``. The gradient ignores the sign, as a
    straight-through estimator: that of ``(sigma(h_e) - sigma(g_e)) / |S|``. An item that exceeds no
    threshold has no expert in training, and the expert with the largest score in evaluation.

    ``activity`` counts what growth needs: loads and items without an expert since its last
    ``reset``. Experts without load can be removed and experts added while items remain without
    one, by the edits ``prune`` (``by=load``) and ``grow``.

    Source: DynMoE, Guo et al. 2024, 2405.14297: top-any gating, and the records of its adaptive
    process; compared with the authors' code, which keeps the temperature at 1. Of its three losses,
    ``switch`` stands for that of balance; those on gate weights and on the number of experts are
    left out.

    Args:
        gate: similarities; by default cosines with a learned temperature, initially 1.

    >>> router = TopAny(2, 3)
    >>> _ = router.gate.centroid.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    >>> router(Items(torch.tensor([[3.0, 4.0]]))).weight.tolist()
    [0.5, 0.5]
    """

    traits = Traits(exact_gradients=False)
    default_losses = {"switch": 0.01}
    num_counts = 2

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        gate: GateSpec = {"name": "cosine", "project": 0, "temperature": 1.0},
    ) -> None:
        super().__init__(dim, num_experts)
        self.gate = self.build_gate(gate)
        self.threshold = nn.Parameter(torch.zeros(num_experts))
        self.activity = Activity(num_experts)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        excess = logits.sigmoid() - self.threshold.to(logits.dtype).sigmoid()
        keep = excess.detach() > 0
        if self.training:
            real = items.real()
            unreached = (~keep.any(1) & real).sum()
            extras = {"counts": torch.stack([unreached, real.sum()])}
        else:
            best = logits.detach().argmax(1, keepdim=True)
            keep = keep | torch.zeros_like(keep).scatter(1, best, ~keep.any(1, keepdim=True))
            extras = None
        weight = (1 + excess - excess.detach()) / keep.sum(1, keepdim=True).clamp_min(1)
        probs = normalized_sigmoid(logits)
        return Routing.by_mask(items, weight, keep, logits=logits, probs=probs, extras=extras)

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.activity.load += load

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training:
            self.activity.items += counts


class Activity(Float32State):
    """Loads of experts, and items without an expert, since the last ``reset``.

    >>> activity = Activity(3)
    >>> activity.load += torch.tensor([4, 0, 2])
    >>> activity.items += torch.tensor([1, 8])
    >>> activity.idle, activity.unreached
    ([1], 0.125)
    """

    load: Tensor
    items: Tensor

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.register_buffer("load", torch.zeros(num_experts, dtype=torch.int64))
        self.register_buffer("items", torch.zeros(2, dtype=torch.int64))

    @property
    def idle(self) -> list[int]:
        """Experts that no item selected."""
        idle: list[int] = (self.load == 0).nonzero().flatten().tolist()
        return idle

    @property
    def unreached(self) -> float:
        """Share of items that no expert was selected for."""
        without, total = self.items.tolist()
        return float(without / max(total, 1))

    def reset(self) -> None:
        """Count from zero again."""
        self.load.zero_()
        self.items.zero_()
