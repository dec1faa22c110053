"""How an item's experts are combined, where it is not by their weighted sum."""

from abc import ABC, abstractmethod

from torch import Tensor


class OutputCombiner(ABC):
    """Makes one output of all that experts put out for an item.

    A router that looks at outputs hands the engine a rule and still knows no expert. A rule
    holds settings and no tensors: what was decided is in the routing's weights.
    """

    @abstractmethod
    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """The items' outputs.

        Args:
            outputs: ``(N, E, F)`` in float32 or wider, 0 where an expert was not asked.
            weight: ``(N, E)``, of the assignments; 0 where there is none.

        Returns:
            ``(N, F)``, 0 for items whose weights are all 0.
        """

    @abstractmethod
    def flops(self, num_items: int, num_experts: int, features: int) -> int:
        """FLOPs of ``combine`` for those sizes, as ``count_flops`` measures them."""
