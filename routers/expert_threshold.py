"""Expert choice without a look at other items: each expert has a bar to pass."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import BINS, Float32State, histogram, normalized_sigmoid, quantile
from .gates import Gate, GateSpec
from .plugins import OptionError
from .routing import Items, Routing

#: How many items a new gate is tried on.
_ITEMS = 4096


class Threshold(Float32State):
    """A running mean ``(E,)``: over all steps at first, exponential from then on.

    Args:
        start: ``(E,)``, what it is until the first step.
        decay: how much of it a step keeps.

    >>> bar = Threshold(torch.tensor([0.5]), decay=0.75)
    >>> for new in (1.0, 0.0, 0.5, 0.5, 0.0):
    ...     bar.follow(torch.tensor([new]))
    >>> bar.value.item()
    0.375
    """

    value: Tensor
    steps: Tensor

    def __init__(self, start: Tensor, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise OptionError("decay", decay, "a number from 0 to below 1")
        self.decay = decay
        self.register_buffer("value", start.float())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def follow(self, new: Tensor) -> None:
        """Take a step towards ``new``."""
        self.steps += 1
        self.value += (new - self.value) * (1 / self.steps).clamp_min(1 - self.decay)


@torch.no_grad()
def expected_bar(gate: Gate, dim: int, share: float) -> Tensor:
    """The logit of each expert that a new gate gives a share of all items or more, ``(outputs,)``.

    Items have independent standard normal features, as behind a norm, and are the same always.

    >>> from .gates import build_gate
    >>> gate = build_gate("linear", 4, 1)
    >>> gate.weight.data.fill_(1.0).tolist()  # logits of deviation 2
    [[1.0, 1.0, 1.0, 1.0]]
    >>> round(expected_bar(gate, 4, 0.1587).item())
    2
    """
    x = torch.randn(_ITEMS, dim, generator=torch.Generator().manual_seed(0), device="cpu")
    device = next(gate.parameters(), x).device
    logits = gate(Items(x.to(device)))
    if not logits.std(0).all():
        raise OptionError(
            "gate",
            "a gate that scores all items alike",
            "one that tells them apart from the start, for no threshold parts equal scores",
            "Start its parameters with some spread, or choose another gate",
        )
    return logits.t().topk(max(1, round(share * _ITEMS))).values[:, -1]


@ROUTERS.register("expert_threshold")
class ExpertThreshold(Router):
    """Every item goes to each expert whose score passes that expert's running threshold.

    ``i`` goes to ``e`` where ``s_ie = sigma(h_ie) > sigma(c_e)``, with weight ``s_ie``. ``c_e`` is
    an average over past training steps of the logit that a share ``factor / E`` of the step's
    items reached; before the first, what a new gate would give that share of normally distributed
    items. So loads are even in expectation, an item gets ``factor`` experts on average, none or
    many in particular, and unlike in ``expert_choice`` no item looks at another.

    Source: expert threshold routing, Sun et al. 2026, 2603.11535, equation 6 and algorithm 1. The
    first steps are averaged evenly instead of a warm-up by expert choice. Bars are kept and
    averaged as logits, in which scores near 0 or 1 stay apart, and quantiles are read from
    histograms around the bar, which add up over ranks.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        factor: experts per item on average.
        decay: how much of ``c`` a step keeps.
        gate: what scores the experts.

    >>> import torch
    >>> router = ExpertThreshold(4, 8, factor=2.0)
    >>> items = Items(torch.randn(1000, 4))
    >>> router.adapt_from_counts(router(items).extras["counts"])
    >>> 1900 < router(items).num_assignments < 2100
    True
    """

    traits = Traits(convex=False)
    search_space: ClassVar[Mapping[str, Any]] = {"factor": [1.0, 1.5, 2.0], "decay": [0.9, 0.99]}

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
            allowed = f"a number above 0, at most num_experts={num_experts}"
            raise OptionError("factor", factor, allowed)
        self.share = factor / num_experts
        self.num_counts = num_experts * BINS
        self.gate = self.build_gate(gate)
        start = expected_bar(self.gate, dim, self.share)
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
            self.threshold.follow(self.threshold.value + quantile(counts, 1 - self.share))
