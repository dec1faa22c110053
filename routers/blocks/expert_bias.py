"""Balance without a loss: a bias per expert that selects, never weighs, and follows the load."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from .._torch.float32_state import Float32State
from ..plugins.errors import OptionError, unknown
from .histogram import BINS, histogram, quantile


class Bias(Float32State):
    """What is added to every expert's score where experts are chosen.

    A buffer in float32 that no gradient reaches. It moves once per step, by a rule.

    Args:
        num_experts: ``E``.
        k: experts per item.
        rate: how far a step goes; None for the rule's own.

    Class attributes:
        rate: the default.
        most: the largest rate allowed.
    """

    rate: float
    most: ClassVar[float] = math.inf
    value: Tensor

    def __init__(self, num_experts: int, k: int, rate: float | None) -> None:
        super().__init__()
        if rate is not None:
            self.rate = rate
        if not 0 <= self.rate <= self.most or self.rate == math.inf:
            most = "upwards, finite" if self.most == math.inf else f"to {self.most:g}"
            raise OptionError("rate", rate, f"a number from 0 {most}; 0 keeps the bias at 0")
        self.k = k
        self.register_buffer("value", torch.zeros(num_experts))

    @property
    def num_counts(self) -> int:
        """As a router's."""
        return 0

    def counts(self, scores: Tensor) -> Tensor | None:
        """What the rule wants to know of the scores ``(N, E)`` of real items."""

    def adapt(self, load: Tensor) -> None:
        """Move after a step with this load."""

    def adapt_from_counts(self, tally: Tensor) -> None:
        """Move after a step with these tallies."""


class BySign(Bias):
    """``b += u sign(mean load - load)`` (Wang et al. 2024, 2408.15664, algorithm 1).

    >>> bias = BySign(3, k=1, rate=0.5)
    >>> bias.adapt(torch.tensor([5, 2, 2]))
    >>> bias.value.tolist()
    [-0.5, 0.5, 0.5]
    """

    rate = 0.01  # the paper's 0.001 is for a hundred times as many steps

    def adapt(self, load: Tensor) -> None:
        self.value += self.rate * _excess(load).sign().neg()


class ByProportion(Bias):
    """``b += u (mean load - load) / mean load`` (Wang et al. 2024, 2408.15664, section 4.3).

    Relative to the mean, so that a rate holds for any size of batch.

    >>> bias = ByProportion(3, k=1, rate=0.5)
    >>> bias.adapt(torch.tensor([5, 2, 2]))
    >>> [round(b, 4) for b in bias.value.tolist()]
    [-0.3333, 0.1667, 0.1667]
    """

    rate = 0.03

    def adapt(self, load: Tensor) -> None:
        self.value -= self.rate * _excess(load) / load.double().mean().clamp_min(1)


class ByQuantile(Bias):
    """``b += u (q - b)``, ``q_e`` the bias that would send a fraction ``K / E`` of items to ``e``.

    An item chooses ``e`` where ``s_e + b_e`` reaches its cutoff, the ``K+1``-th largest of
    ``s + b``; ``q_e`` is the quantile of cutoff minus ``s_e`` over the step's items, and its mean
    over experts is taken off. It is read from histograms around ``b_e``, so scores may lie as
    close as float32 tells them apart. Source: quantile balancing, Su 2026,
    https://kexue.fm/archives/11619; by histograms as in the report of Kimi K3, 2026,
    equations 13 and 14.

    >>> bias = ByQuantile(2, k=1, rate=1.0)
    >>> scores = torch.linspace(0, 1, 1001).unsqueeze(1) * torch.tensor([0.0, 1.0]) + 0.1
    >>> bias.adapt_from_counts(bias.counts(scores))  # half of the items stay with expert 1
    >>> [round(b, 2) for b in bias.value.tolist()]
    [0.25, -0.25]
    """

    rate = 0.1
    most = 1.0

    @property
    def num_counts(self) -> int:
        return len(self.value) * BINS

    def counts(self, scores: Tensor) -> Tensor:
        rank = min(self.k + 1, len(self.value))
        biased = scores + self.value
        return histogram(biased.topk(rank, -1).values[:, -1:] - biased)

    def adapt_from_counts(self, tally: Tensor) -> None:
        if tally.any():
            goal = self.value + quantile(tally, self.k / len(self.value))
            self.value += self.rate * (goal - goal.mean() - self.value)


def _excess(load: Tensor) -> Tensor:
    """How far each expert's load is above the mean."""
    return load.double() - load.double().mean()


#: Rules that need to know the load alone, …
BY_LOAD: dict[str, type[Bias]] = {"sign": BySign, "proportional": ByProportion}
#: … and all of them.
RULES: dict[str, type[Bias]] = {**BY_LOAD, "quantile": ByQuantile}


def check_rule(rule: str, rules: dict[str, type[Bias]]) -> type[Bias]:
    """The rule that an option names."""
    if rule not in rules:
        raise unknown("rule", rule, rules)
    return rules[rule]
