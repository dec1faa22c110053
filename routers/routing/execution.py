"""Forms of execution other than a weighted sum: through slots, merged, combined, with defaults."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Slots:
    """Experts work on slots: two weighted averages around them (Soft MoE, 2308.00951).

    Attributes:
        dispatch: ``(G, L, S)``; over a group's items each slot's column sums to one.
        combine: ``(G, L, S)``; over all slots each real item's row sums to one. For ``T`` tasks
            ``(T, G, L, S)``, one such table per task.

    >>> import torch
    >>> half = torch.full((2, 3, 4), 0.5)
    >>> Slots(half, half).num_slots
    8
    """

    dispatch: Tensor
    combine: Tensor
    supports_dropping: ClassVar[bool] = False

    @property
    def num_slots(self) -> int:
        """Slots of all groups together, ``G * S``."""
        return self.dispatch.shape[0] * self.dispatch.shape[2]

    def detach(self) -> "Slots":
        """The same slots with tensors that belong to no graph."""
        return Slots(self.dispatch.detach(), self.combine.detach())


@dataclass(frozen=True, eq=False)
class Merge:
    """One expert per part of the items; its parameters are weighted means of all experts'.

    Attributes:
        weight: ``(M, E)`` for ``M`` equal contiguous parts; rows sum to one. For ``T`` tasks
            ``(T, M, E)``.
    """

    weight: Tensor
    supports_dropping: ClassVar[bool] = False

    def detach(self) -> "Merge":
        """The same merge with a tensor that belongs to no graph."""
        return Merge(self.weight.detach())


class OutputCombiner(ABC):
    """Computes an item's output from the outputs of all its experts.

    A router that depends on outputs passes a combiner to the engine and stays independent of the
    experts. A combiner holds settings and no tensors: the router's decision is in the weights.
    """

    @abstractmethod
    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """Combine outputs.

        Args:
            outputs: ``(N, E, F)`` in float32 or wider, 0 where an item has no assignment.
            weight: ``(N, E)``, of the assignments; 0 where there is none.

        Returns:
            ``(N, F)``, 0 for items whose weights are all 0.
        """

    @abstractmethod
    def flops(self, num_items: int, num_experts: int, features: int) -> int:
        """FLOPs of ``combine`` for those sizes, as ``count_flops`` measures them."""


@dataclass(frozen=True)
class Combine:
    """All outputs of an item go to a combiner of the router.

    Attributes:
        combiner: computes the item's output.
    """

    combiner: OutputCombiner
    supports_dropping: ClassVar[bool] = True


class OutputMeans(ABC):
    """Mean outputs of the experts, which a router keeps: they stand in for experts not run."""

    @property
    @abstractmethod
    def means(self) -> Tensor:
        """The mean output of each expert, ``(E, D)``."""

    @abstractmethod
    def record(self, expert: Tensor, outputs: Tensor) -> None:
        """Record outputs ``(A, D)`` of experts ``(A,)``; in training they change later means."""


@dataclass(frozen=True)
class Defaults:
    """A weighted sum to which each expert that an item is not assigned to adds its mean output.

    The weight of a mean output is the expert's entry in ``Routing.probs``.

    Attributes:
        outputs: the mean outputs.
    """

    outputs: OutputMeans
    supports_dropping: ClassVar[bool] = True


#: None in a routing stands for the weighted sum. ``supports_dropping`` of each: whether single
#: assignments can be left out.
Execution = Slots | Merge | Combine | Defaults
