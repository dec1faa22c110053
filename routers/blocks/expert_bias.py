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


class DualBias(ExpertBias):
    """``b = -q``, with ``q`` the prices of experts in the best assignment of even loads.

    Of all assignments of ``K`` experts to an item and at most ``n K / E`` items to an expert, the
    one with the largest sum of scores has prices ``p_i`` of items and ``q_e >= 0`` of experts. They
    are found by rounds: ``p_i`` is the ``K+1``-th largest of ``s_i - q``, then ``q_e`` the
    ``(n K / E + 1)``-th largest of ``s_e - p``, or 0. The last round is over all items of the
    step, from histograms as in ``QuantileBias``, which it equals with one round, but for its
    centre and the bound of ``q``. ``b += u (-q - b)``.

    Source: BIP-based balancing, Sun 2025, 2502.15451, algorithm 1, as we remember it. The paper
    routes a batch by its own prices, so an item depends on others; here the next batch uses them.

    >>> bias = DualBias(2, k=1, rate=1.0)
    >>> scores = torch.linspace(0, 1, 1001).unsqueeze(1) * torch.tensor([0.0, 1.0]) + 0.1
    >>> bias.adapt_from_counts(bias.counts(scores))  # half of the items leave expert 1
    >>> [round(b, 1) for b in bias.value.tolist()]
    [0.0, -0.5]
    """

    rate = 1.0
    max_rate = 1.0
    rounds: ClassVar[int] = 4

    @property
    def num_counts(self) -> int:
        return len(self.value) * BINS

    def counts(self, scores: Tensor) -> Tensor:
        most = len(scores) * self.k // len(self.value)
        rank = min(self.k + 1, len(self.value))
        bias = self.value.to(scores.dtype)
        for left in reversed(range(self.rounds)):
            price = (scores + bias).topk(rank, -1).values[:, -1:]
            if left and most < len(scores):
                bias = -(scores - price).topk(most + 1, 0).values[-1].clamp_min(0)
        return histogram(price - scores - self.value)

    def adapt_from_counts(self, counts: Tensor) -> None:
        if counts.any():
            goal = self.value + quantile(counts, self.k / len(self.value))
            self.value += self.rate * (goal.clamp_max(0) - self.value)


class PidBias(ExpertBias):
    """``b += u (e_t + P (e_t - e_{t-1}) + D (e_t - 2 e_{t-1} + e_{t-2}))``: a PID controller.

    ``e = (mean load - load) / mean load``. The bias is thus ``u`` times the sum of all errors, plus
    ``P`` times the last and ``D`` times its change. The errors of two steps are kept.

    Source: LongCat-Flash, 2509.01322, controls its bias by PID; the update that we know, from a
    secondary text, is the first term, which ``proportional`` is. The other two are the textbook's
    in velocity form, with gains of ours.

    >>> bias = PidBias(3, k=1, rate=0.5)
    >>> bias.adapt(torch.tensor([5, 2, 2]))
    >>> [round(b, 4) for b in bias.value.tolist()]
    [-0.75, 0.375, 0.375]
    """

    rate = 0.01
    gains: ClassVar[tuple[float, float]] = (1.0, 0.25)
    errors: Tensor

    def __init__(self, num_experts: int, k: int, rate: float | None) -> None:
        super().__init__(num_experts, k, rate)
        self.register_buffer("errors", torch.zeros(2, num_experts))

    def adapt(self, load: Tensor) -> None:
        if not load.any():
            return
        last, before = self.errors.double()
        error = -_excess(load) / load.double().mean().clamp_min(1)
        p, d = self.gains
        self.value += self.rate * (error + p * (error - last) + d * (error - 2 * last + before))
        self.errors.copy_(torch.stack([error, last]))


def _excess(load: Tensor) -> Tensor:
    """Each expert's load minus the mean load, float64."""
    return load.double() - load.double().mean()


#: Rules that read the load only.
LOAD_RULES: dict[str, type[ExpertBias]] = {
    "sign": SignBias,
    "proportional": ProportionalBias,
    "pid": PidBias,
}
#: All rules, by the value of a router's option ``rule``.
UPDATE_RULES: dict[str, type[ExpertBias]] = {
    **LOAD_RULES,
    "quantile": QuantileBias,
    "bip": DualBias,
}


def update_rule(rule: str, rules: dict[str, type[ExpertBias]]) -> type[ExpertBias]:
    """The class that the option ``rule`` names; ``OptionError`` if it is not among ``rules``."""
    if rule not in rules:
        raise unknown("rule", rule, rules)
    return rules[rule]
