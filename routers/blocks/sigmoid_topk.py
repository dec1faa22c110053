"""Base class of token choice by affinities of single experts with a load-balancing bias."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor

from .._router import Router
from ..gates import GateSpec
from ..plugins import OptionError, unknown
from ..routing import Items, Routing
from .affinities import AFFINITIES, Affinity
from .expert_bias import UPDATE_RULES, ExpertBias, update_rule
from .selection import build_weighting, check_k


def _to_score(affinity: Affinity, logits: Tensor) -> Tensor:
    return affinity.score(logits)


def _to_logits(_: Affinity, logits: Tensor) -> Tensor:
    return logits


#: How far the bias of a deferred expert is below all others where scores have no bound.
_DEFERRED = 1e4

#: What the bias is added to, ``(affinity, logits (N, E)) -> (N, E)``.
BIASED: dict[str, Callable[[Affinity, Tensor], Tensor]] = {
    "score": _to_score,
    "logits": _to_logits,
}


class SigmoidTopKBase(Router):
    """Independent affinities ``s``, by default ``sigma(h)``; experts are selected by ``s + b``.

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
        score: str = "sigmoid",
        bias_to: str = "score",
        rule: str = "sign",
        rate: float | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 < scale < math.inf:
            raise OptionError("scale", scale, "a finite number above 0")
        if score not in AFFINITIES:
            raise unknown("score", score, AFFINITIES)
        if bias_to not in BIASED:
            raise unknown("bias_to", bias_to, BIASED)
        self.k = k
        self.convex = build_weighting(k, weighting).convex
        self.weighting = weighting
        self.scale = scale
        self.score = score
        self.bias_to = bias_to
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
        affinity = AFFINITIES[self.score]
        scores = BIASED[self.bias_to](affinity, logits.detach())
        expert = self.select(scores + self.bias.value)
        chosen = self.gate.pick(items, logits, expert)
        weight = affinity.normalized(chosen) if self.convex else affinity.score(chosen)
        counts = self.bias.counts(scores[items.real()]) if self.training else None
        return Routing.by_item(
            items,
            expert,
            self.scale * weight,
            self.num_experts,
            logits=logits,
            probs=affinity.normalized(logits),
            extras=None if counts is None else {"counts": counts},
        )

    def defer(self, experts: Sequence[int]) -> bool:
        bound = AFFINITIES[self.score].bound if self.bias_to == "score" else math.inf
        # no other expert has a lower score with its bias, or none among ordinary ones
        self.bias.value[list(experts)] = self.bias.value.min() - min(bound, _DEFERRED)
        return True

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.bias.adapt(load)

    def adapt_from_counts(self, counts: Tensor) -> None:
        if self.training:
            self.bias.adapt_from_counts(counts)
