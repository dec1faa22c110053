"""Base class of token choice by sigmoid affinities with a load-balancing bias."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from .._router import Router
from ..gates import GateSpec
from ..plugins import OptionError
from ..routing import Items, Routing
from .expert_bias import UPDATE_RULES, ExpertBias, update_rule
from .selection import build_weighting, check_k, softmax


def normalized_sigmoid(chosen: Tensor) -> Tensor:
    """``sigma(h[S]) / sum sigma(h[S])`` along the last axis, stable where all of them are tiny."""
    return softmax(F.logsigmoid(chosen))


WEIGH = {"renormalized": normalized_sigmoid, "probability": F.sigmoid}


class SigmoidTopKBase(Router):
    """Independent affinities ``s = sigma(h)``; experts are selected by ``s + b``.

    The bias ``b`` changes the selection and never the weights. A subclass implements ``select``
    and may restrict ``rules``, the update rules of the bias.
    """

    rules: ClassVar[dict[str, type[ExpertBias]]] = UPDATE_RULES

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
        self.convex = build_weighting(k, weighting).convex
        self.weighting = weighting
        self.scale = scale
        self.bias = update_rule(rule, self.rules)(num_experts, k, rate)
        self.num_counts = self.bias.num_counts
        self.gate = self.build_gate(gate)
        self.set_traits(convex=self.convex and scale == 1)

    @property
    def rate(self) -> float:
        """Step size of the bias: the default of its rule if none is given."""
        return self.bias.rate

    @abstractmethod
    def select(self, scores: Tensor) -> Tensor:
        """Select experts ``(N, K)`` by biased scores ``(N, E)``."""

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
            probs=normalized_sigmoid(logits),
            extras=None if counts is None else {"counts": counts},
        )

    def defer(self, experts: Sequence[int]) -> bool:
        # scores are in (0, 1): no other expert has a lower one with its bias
        self.bias.value[list(experts)] = self.bias.value.min() - 1
        return True

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.bias.adapt(load)

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training:
            self.bias.adapt_from_counts(counts)
