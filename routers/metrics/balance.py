"""Balance statistics of one routed layer, accumulated in tensors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from ..losses.balance import entropies
from ..routing.routing import Routing


def load_cv(load: Tensor) -> float:
    """Coefficient of variation of the load, population form; 0 at balance.

    >>> load_cv(torch.tensor([1, 3]))
    0.5
    """
    load = load.double()
    return float(load.std(correction=0) / load.mean()) if load.sum() else 0.0


def max_violation(load: Tensor) -> float:
    """``(max load - mean load) / mean load`` (Wang et al. 2024, 2408.15664); 0 at balance.

    >>> max_violation(torch.tensor([1, 3]))
    0.5
    """
    load = load.double()
    return float(load.max() / load.mean() - 1) if load.sum() else 0.0


def load_entropy(load: Tensor) -> float:
    """Entropy of the load's distribution over ``log E``; 1 at balance, 0 for one expert.

    >>> load_entropy(torch.tensor([2, 2]))
    1.0
    """
    if len(load) == 1 or not load.sum():
        return 1.0
    return float(entropies(load.double() / load.sum())) / math.log(len(load))


@dataclass
class Balance:
    """How a layer's work was shared out.

    Attributes:
        items: real items counted.
        load: rows per expert.
        cv: coefficient of variation of the load.
        max_violation: how far the busiest expert is above the mean, relative.
        entropy: of the load's distribution, normalised to 0 … 1.
        dead_experts: experts that computed no row.
        dropped: fraction of the assignments asked for that capacity dropped.
        unrouted: fraction of real items that no expert worked on.
        gate_entropy: mean entropy of the items' gates, normalised to 0 … 1.
        margin: mean over items of the least chosen probability minus the largest not chosen;
            None where no item has both.
    """

    items: int
    load: list[int]
    cv: float
    max_violation: float
    entropy: float
    dead_experts: int
    dropped: float
    unrouted: float
    gate_entropy: float
    margin: float | None


class BalanceMetric(Metric):
    """Sums a layer's routings over batches and ranks; ``compute`` gives a ``Balance``.

    Counts are int64, for float32 sums stick at 2^24.

    >>> from routers import Items
    >>> metric = BalanceMetric(num_experts=2)
    >>> metric.update(
    ...     Routing.by_item(Items(torch.zeros(3, 1)), torch.tensor([[0], [0], [1]]),
    ...                     torch.ones(3, 1), num_experts=2)
    ... )
    >>> round(metric.compute().max_violation, 4)
    0.3333
    """

    full_state_update = False
    load: Tensor
    requested_load: Tensor
    items: Tensor
    unrouted: Tensor
    gate_entropy: Tensor
    margin: Tensor
    margins: Tensor

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts
        for name, size in {"load": num_experts, "requested_load": num_experts}.items():
            self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("items", "unrouted", "margins"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        for name in ("gate_entropy", "margin"):
            zero = torch.tensor(0.0, dtype=torch.float64)
            self.add_state(name, zero, dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, routing: Routing) -> None:
        """Add one routing."""
        self.load += routing.load
        self.requested_load += routing.requested_load
        chosen = routing.unpadded(routing.taken)
        probs = routing.unpadded(routing.probs)
        self.items += len(chosen)
        self.unrouted += (~chosen.any(-1)).sum()
        self.gate_entropy += entropies(probs).sum()
        gap = probs.masked_fill(~chosen, torch.inf).amin(-1)
        gap = gap - probs.masked_fill(chosen, -torch.inf).amax(-1)
        some_not = chosen.sum(-1) < self.num_experts  # an unfilled candidate is no expert
        both = gap.isfinite() & some_not
        self.margin += gap[both].sum()
        self.margins += both.sum()

    def compute(self) -> Balance:
        """The statistics of everything added since the last reset."""
        items = max(int(self.items), 1)
        asked = max(int(self.requested_load.sum()), 1)
        widest = math.log(self.num_experts) if self.num_experts > 1 else 1.0
        return Balance(
            items=int(self.items),
            load=self.load.tolist(),
            cv=load_cv(self.load),
            max_violation=max_violation(self.load),
            entropy=load_entropy(self.load),
            dead_experts=int((self.load == 0).sum()),
            dropped=1 - int(self.load.sum()) / asked if self.requested_load.sum() else 0.0,
            unrouted=int(self.unrouted) / items,
            gate_entropy=float(self.gate_entropy) / items / widest,
            margin=float(self.margin) / int(self.margins) if self.margins else None,
        )


def average_balance(layers: list[Balance]) -> dict[str, float | None]:
    """Each statistic averaged over layers; ``dead_experts`` is their sum, loads are left out.

    >>> average_balance([]) == {}
    True
    """
    if not layers:
        return {}
    names = [n for n in Balance.__dataclass_fields__ if n not in ("items", "load")]
    means: dict[str, float | None] = {}
    for name in names:
        values = [v for v in (getattr(layer, name) for layer in layers) if v is not None]
        means[name] = sum(values) / len(values) if values else None
    means["dead_experts"] = sum(layer.dead_experts for layer in layers)
    return means
