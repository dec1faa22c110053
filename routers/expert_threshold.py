"""Expert choice without a look at other items: each expert has a bar to pass."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ._router import Router, Traits, routers
from .blocks.histogram import BINS, histogram, quantile
from .blocks.sigmoid_topk import renormalized
from .blocks.threshold import Threshold, expected_bar
from .gates import GateSpec
from .plugins.errors import bad_value
from .routing.items import Items
from .routing.routing import Routing


@routers.register("expert_threshold")
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
    >>> router.adapt_to_tally(router(items).tally)
    >>> 1900 < router(items).num_assignments < 2100
    True
    """

    traits = Traits(convex=False)
    space: ClassVar[Mapping[str, Any]] = {"factor": [1.0, 1.5, 2.0], "decay": [0.9, 0.99]}

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
            raise bad_value("router.factor", factor, allowed)
        self.share = factor / num_experts
        self.tally_size = num_experts * BINS
        self.gate = self._use_gate(gate)
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
            probs=renormalized(logits),
            budget=self.share * self.num_experts,
            tally=histogram(above[items.real()]) if self.training else None,
        )

    def adapt_to_tally(self, tally: Tensor) -> None:
        if self.training and tally.any():
            self.threshold.follow(self.threshold.value + quantile(tally, 1 - self.share))
