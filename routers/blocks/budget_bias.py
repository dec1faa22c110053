"""Biases that bring the number of real experts per item to a budget, next to null experts."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .._torch import Float32State
from ..plugins import OptionError


class BudgetBias(Float32State, ABC):
    """A bias of experts that brings the share of real ones in all choices to a target.

    Args:
        experts: ``E``.
        share: the target.
        rate: step size; None for the default of the rule.
    """

    rate: float
    value: Tensor

    def __init__(self, experts: int, share: float, rate: float | None) -> None:
        super().__init__()
        self.rate = self.rate if rate is None else rate
        if not 0 <= self.rate < 1:
            raise OptionError("rate", rate, "a number in [0, 1)")
        self.experts, self.share = experts, share
        self.register_buffer("value", torch.zeros(self.shape()))
        self.num_counts = len(self.counts(torch.zeros(0, 1, dtype=torch.int64)))

    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the bias."""

    @abstractmethod
    def parts(self) -> tuple[Tensor | float, Tensor | float]:
        """Biases of the scores of real and of null experts."""

    @abstractmethod
    def counts(self, expert: Tensor) -> Tensor:
        """Numbers of choices that ``adapt`` reads, of ``(n, K)`` chosen real and null experts."""

    @abstractmethod
    def adapt(self, counts: Tensor) -> None:
        """Update the bias after a step with this sum of ``counts``."""


class NullBias(BudgetBias):
    """One bias of all null experts: ``b += u sign(target - null choices)``.

    The update of Wang et al. 2024, 2408.15664, applied to null experts against real ones.

    >>> bias = NullBias(experts=4, share=0.5, rate=0.25)
    >>> bias.adapt(bias.counts(torch.tensor([[4, 6, 0]])))
    >>> bias.value.item()
    -0.25
    """

    rate = 0.003

    def shape(self) -> tuple[int, ...]:
        return ()

    def parts(self) -> tuple[Tensor | float, Tensor | float]:
        return 0.0, self.value

    def counts(self, expert: Tensor) -> Tensor:
        null = expert >= self.experts
        return torch.stack([null.sum(), torch.ones_like(expert).sum()])

    def adapt(self, counts: Tensor) -> None:
        null, total = counts
        self.value += self.rate * ((1 - self.share) * total - null).sign()


class RealBias(BudgetBias):
    """A bias per real expert: ``b_e += u (target - choices of e) / target``.

    The target is an equal part of the real experts' share (LongCat-Flash, 2509.01322); relative to
    it, so that a rate applies to any number of experts.

    >>> bias = RealBias(experts=2, share=0.5, rate=0.5)
    >>> bias.adapt(bias.counts(torch.tensor([[0, 3], [0, 2]])))
    >>> bias.value.tolist()
    [-0.5, 0.5]
    """

    rate = 0.03

    def shape(self) -> tuple[int, ...]:
        return (self.experts,)

    def parts(self) -> tuple[Tensor | float, Tensor | float]:
        return self.value, 0.0

    def counts(self, expert: Tensor) -> Tensor:
        """Choices of each real expert, and of all nulls."""
        return torch.bincount(expert.flatten().clamp_max(self.experts), minlength=self.experts + 1)

    def adapt(self, counts: Tensor) -> None:
        target = self.share * counts.sum().double() / self.experts
        if target > 0:
            self.value += self.rate * (target - counts[:-1]) / target


#: By the value of the option ``rule`` of ``null_experts``.
BUDGET_RULES: dict[str, type[BudgetBias]] = {"nulls": NullBias, "experts": RealBias}
