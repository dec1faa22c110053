"""Expert threshold routing: each expert takes the items above a running threshold."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import BINS, Float32State, histogram, normalized_sigmoid, quantile
from .gates import Gate, GateSpec
from .plugins import OptionError
from .routing import Items, Routing

#: Number of random items on which a new gate is evaluated.
_NUM_SAMPLES = 4096


class Threshold(Float32State):
    """A running mean from ``start``, ``(E,)``: of all steps at first, exponential later.

    ``decay``, in [0, 1), is then the weight of the previous value.

    >>> mean = Threshold(torch.tensor([0.5]), decay=0.75)
    >>> for new in (1.0, 0.0, 0.5, 0.5, 0.0):
    ...     mean.update(torch.tensor([new]))
    >>> mean.value.item()
    0.375
    """

    value: Tensor
    steps: Tensor

    def __init__(self, start: Tensor, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise OptionError("decay", decay, "a number in [0, 1)")
        self.decay = decay
        self.register_buffer("value", start.float())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def update(self, new: Tensor) -> None:
        """Include ``new``, ``(E,)``, in the mean."""
        self.steps += 1
        self.value += (new - self.value) * (1 / self.steps).clamp_min(1 - self.decay)


@torch.no_grad()
def initial_threshold(gate: Gate, dim: int, share: float) -> Tensor:
    """The ``1 - share`` quantile of each of a new gate's logits, ``(outputs,)``.

    Estimated on fixed items with independent standard normal features, as after a norm.

    >>> from .gates import build_gate
    >>> gate = build_gate("linear", 4, 1)
    >>> gate.weight.data.fill_(1.0).tolist()  # logits of deviation 2
    [[1.0, 1.0, 1.0, 1.0]]
    >>> round(initial_threshold(gate, 4, 0.1587).item())
    2
    """
    x = torch.randn(_NUM_SAMPLES, dim, generator=torch.Generator().manual_seed(0), device="cpu")
    device = next(gate.parameters(), x).device
    logits = gate(Items(x.to(device)))
    if not logits.is_meta and not logits.std(0).all():
        found = "a gate with equal scores for all items"
        expected = "initial scores that differ, since no threshold separates equal ones"
        cure = "Initialize it with random weights, or choose another gate"
        raise OptionError("gate", found, expected, cure)
    return logits.t().topk(max(1, round(share * _NUM_SAMPLES))).values[:, -1]


@ROUTERS.register("expert_threshold")
class ExpertThreshold(Router):
    """Each item is assigned to every expert whose running threshold its score exceeds.

    ``i`` is assigned to ``e`` if ``s_ie = sigma(h_ie) > sigma(c_e)``, with weight ``s_ie``. ``c_e``
    is a running mean over training steps of the logit that a share ``factor / E`` of the step's
    items reaches, initially that of a new gate on normally distributed items. So loads are equal
    in expectation, an item has ``factor`` experts on average, possibly none or many, and unlike
    in ``expert_choice`` its route does not depend on other items.

    Source: expert threshold routing, Sun et al. 2026, 2603.11535, equation 6 and algorithm 1. The
    first steps are averaged equally instead of a warm-up by expert choice. Thresholds are stored
    and averaged as logits, which resolve scores near 0 or 1; quantiles are estimated from
    histograms around the threshold, which add up over ranks.

    Args:
        factor: experts per item on average.
        decay: weight of the previous ``c`` in an update, in [0, 1).

    >>> import torch
    >>> router = ExpertThreshold(4, 8, factor=2.0)
    >>> items = Items(torch.randn(1000, 4))
    >>> router.adapt_from_counts(router(items).extras["counts"])
    >>> 1900 < router(items).num_assignments < 2100
    True
    """

    traits = Traits(convex=False)
    search_space = {"factor": [1.0, 1.5, 2.0], "decay": [0.9, 0.99]}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        factor: float = 2.0,
        decay: float = 0.9,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < factor <= num_experts:
            raise OptionError("factor", factor, f"a number in (0, num_experts={num_experts}]")
        self.share = factor / num_experts
        self.num_counts = num_experts * BINS
        self.gate = self.build_gate(gate)
        start = initial_threshold(self.gate, dim, self.share)
        self.threshold = Threshold(start, decay)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        above = logits.detach() - self.threshold.value
        return Routing.by_mask(
            items,
            logits.sigmoid(),
            keep=above > 0,
            logits=logits,
            probs=normalized_sigmoid(logits),
            experts_per_item=self.share * self.num_experts,
            extras={"counts": histogram(above[items.real()])} if self.training else None,
        )

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training and counts.any():
            self.threshold.update(self.threshold.value + quantile(counts, 1 - self.share))
