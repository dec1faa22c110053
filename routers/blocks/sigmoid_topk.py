"""Token choice by sigmoid affinities and a bias that balances without a loss."""

import math
from abc import abstractmethod
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from .._router import Router
from ..gates import GateSpec
from ..plugins.errors import OptionError
from ..routing import Items, Routing
from .expert_bias import RULES, Bias, check_rule
from .selection import check_k, check_learns, softmax


def renormalized(chosen: Tensor) -> Tensor:
    """``sigma(h[S]) / sum sigma(h[S])`` along the last axis, also where all of them are tiny."""
    return softmax(F.logsigmoid(chosen))


WEIGH = {"renormalized": renormalized, "probability": F.sigmoid}


class SigmoidTopKBase(Router):
    """Each expert's affinity is judged by itself, ``s = sigma(h)``; ``S`` is chosen by ``s + b``.

    The bias ``b`` selects and never weighs; a subclass says how experts are selected, and by
    which of ``rules`` the bias may move.
    """

    rules: ClassVar[dict[str, type[Bias]]] = RULES

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        weighting: str = "renormalized",
        scale: float = 1.0,
        rule: str = "sign",
        rate: float | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 < scale < math.inf:
            raise OptionError("scale", scale, "a finite number above 0")
        self.k = k
        self.convex = check_learns(k, weighting).convex
        self.weighting = weighting
        self.scale = scale
        self.bias = check_rule(rule, self.rules)(num_experts, k, rate)
        self.num_counts = self.bias.num_counts
        self.gate = self.build_gate(gate)
        self.set_traits(convex=self.convex and scale == 1)

    @abstractmethod
    def select(self, scores: Tensor) -> Tensor:
        """The experts ``(N, K)`` of items with these biased scores ``(N, E)``."""

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        scores = logits.detach().sigmoid()
        expert = self.select(scores + self.bias.value)
        weight = WEIGH[self.weighting](self.gate.pick(items, logits, expert))
        counts = self.bias.counts(scores[items.real()]) if self.training else None
        return Routing.by_item(
            items,
            expert,
            self.scale * weight,
            self.num_experts,
            logits=logits,
            probs=renormalized(logits),
            extras=None if counts is None else {"counts": counts},
        )

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.bias.adapt(load)

    def adapt_from_counts(self, tally: Tensor) -> None:
        if self.training:
            self.bias.adapt_from_counts(tally)
