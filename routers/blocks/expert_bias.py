"""Load balancing without a loss: a bias per expert that changes the selection only."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from .._torch import Float32State
from ..plugins import OptionError, unknown
from .histogram import BINS, histogram, quantile


class ExpertBias(Float32State):
    """A bias added to every expert's score when experts are selected.

    A float32 buffer without a gradient, updated once per optimizer step by a subclass's rule.

    Args:
        num_experts: ``E``.
        k: experts per item.
        rate: step size; None for the default of the rule.

    Class attributes:
        rate: default step size.
        max_rate: largest valid step size.
    """

    rate: float
    max_rate: ClassVar[float] = math.inf
    value: Tensor

    def __init__(self, num_experts: int, k: int, rate: float | None) -> None:
        super().__init__()
        if rate is not None:
            self.rate = rate
        if not 0 <= self.rate <= self.max_rate or self.rate == math.inf:
            closing = ")" if self.max_rate == math.inf else "]"
            expected = f"a number in [0, {self.max_rate:g}{closing}; 0 keeps the bias at 0"
            raise OptionError("rate", rate, expected)
        self.k = k
        self.register_buffer("value", torch.zeros(num_experts))

    @property
    def num_counts(self) -> int:
        """Length of ``counts``, as in ``Router.num_counts``."""
        return 0

    def counts(self, scores: Tensor) -> Tensor | None:
        """Statistics of the scores ``(N, E)`` of unpadded items that the rule reads, or None."""

    def adapt(self, load: Tensor) -> None:
        """Update the bias after a step with this load, ``(E,)``."""

    def adapt_from_counts(self, counts: Tensor) -> None:
        """Update the bias after a step with this sum of ``counts``."""


class SignBias(ExpertBias):
    """``b += u sign(mean load - load)`` (Wang et al. 2024, 2408.15664, algorithm 1).

    >>> bias = SignBias(3, k=1, rate=0.5)
    >>> bias.adapt(torch.tensor([5, 2, 2]))
    >>> bias.value.tolist()
    [-0.5, 0.5, 0.5]
    """

    rate = 0.01  # the paper's 0.001 is for a hundred times as many steps

    def adapt(self, load: Tensor) -> None:
        self.value += self.rate * _excess(load).sign().neg()


class ProportionalBias(ExpertBias):
    """``b += u (mean load - load) / mean load`` (Wang et al. 2024, 2408.15664, section 4.3).

    Relative to the mean, so that a rate applies to any batch size.

    >>> bias = ProportionalBias(3, k=1, rate=0.5)
    >>> bias.adapt(torch.tensor([5, 2, 2]))
    >>> [round(b, 4) for b in bias.value.tolist()]
    [-0.3333, 0.1667, 0.1667]
    """

    rate = 0.03

    def adapt(self, load: Tensor) -> None:
        self.value -= self.rate * _excess(load) / load.double().mean().clamp_min(1)


class QuantileBias(ExpertBias):
    """``b += u (q - b)``, with ``q_e`` the bias that sends ``K / E`` of all items to ``e``.

    An item selects ``e`` if ``s_e + b_e`` reaches its cutoff, the ``K+1``-th largest of
    ``s + b``; ``q_e`` is the quantile of cutoff minus ``s_e`` over the step's items, centred over
    experts. It is estimated from histograms around ``b_e``, which resolve scores as close as
    float32 allows. Source: quantile balancing, Su 2026,
    https://kexue.fm/archives/11619; by histograms as in the report of Kimi K3, 2026,
    equations 13 and 14.

    >>> bias = QuantileBias(2, k=1, rate=1.0)
    >>> scores = torch.linspace(0, 1, 1001).unsqueeze(1) * torch.tensor([0.0, 1.0]) + 0.1
    >>> bias.adapt_from_counts(bias.counts(scores))  # half of the items stay with expert 1
    >>> [round(b, 2) for b in bias.value.tolist()]
    [0.25, -0.25]
    """

    rate = 0.1
    max_rate = 1.0

    @property
    def num_counts(self) -> int:
        return len(self.value) * BINS

    def counts(self, scores: Tensor) -> Tensor:
        rank = min(self.k + 1, len(self.value))
        biased = scores + self.value
        return histogram(biased.topk(rank, -1).values[:, -1:] - biased)

    def adapt_from_counts(self, counts: Tensor) -> None:
        if counts.any():
            goal = self.value + quantile(counts, self.k / len(self.value))
            self.value += self.rate * (goal - goal.mean() - self.value)


def _excess(load: Tensor) -> Tensor:
    """Each expert's load minus the mean load, float64."""
    return load.double() - load.double().mean()


#: Rules that read the load only.
LOAD_RULES: dict[str, type[ExpertBias]] = {"sign": SignBias, "proportional": ProportionalBias}
#: All rules, by the value of a router's option ``rule``.
UPDATE_RULES: dict[str, type[ExpertBias]] = {**LOAD_RULES, "quantile": QuantileBias}


def update_rule(rule: str, rules: dict[str, type[ExpertBias]]) -> type[ExpertBias]:
    """The class that the option ``rule`` names; ``OptionError`` if it is not among ``rules``."""
    if rule not in rules:
        raise unknown("rule", rule, rules)
    return rules[rule]
