"""Items to slots and back: the soft half of a routing."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Blend:
    """Two weighted averages around the experts (Soft MoE, Puigcerver et al. 2023).

    Attributes:
        dispatch: ``(G, L, S)``; over a group's items each slot's column sums to one.
        combine: ``(G, L, S)``; over all slots each real item's row sums to one. For ``T`` tasks
            ``(T, G, L, S)``, and the same of each.

    >>> import torch
    >>> half = torch.full((1, 2, 1), 0.5)
    >>> Blend(half, torch.ones(1, 2, 1)).gather(torch.tensor([[2.0], [4.0]])).tolist()
    [[3.0]]
    """

    dispatch: Tensor
    combine: Tensor

    @property
    def num_slots(self) -> int:
        """Slots of all groups together, ``G * S``."""
        return self.dispatch.shape[0] * self.dispatch.shape[2]

    def gather(self, x: Tensor) -> Tensor:
        """Items ``(N, ...)`` to slots ``(G * S, ...)``."""
        groups, length, _ = self.dispatch.shape
        flat = x.reshape(groups, length, math.prod(x.shape[1:]))
        slots = self.dispatch.to(x.dtype).transpose(1, 2) @ flat
        return slots.reshape(-1, *x.shape[1:])

    def scatter(self, y: Tensor) -> Tensor:
        """Slots ``(G * S, ...)`` to items ``(N, ...)``, or ``(T, N, ...)`` for ``T`` tasks."""
        *tasks, groups, length, slots = self.combine.shape
        items = self.combine.to(y.dtype) @ y.reshape(groups, slots, math.prod(y.shape[1:]))
        return items.reshape(*tasks, groups * length, *y.shape[1:])
