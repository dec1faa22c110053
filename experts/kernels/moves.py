"""From what is given to the experts' rows, and back."""

from typing import Protocol

from torch import Tensor


class Moves(Protocol):
    """Items ``(N, F)`` to rows ``(S, F)`` and back; ``weight`` is of assignments, ``(A,)``."""

    def rows(self, x: Tensor) -> Tensor:
        """Each row's item."""

    def sums(self, rows: Tensor, weight: Tensor | None) -> Tensor:
        """Each item's rows, weighted where there is a ``weight``, and summed."""

    def scaled(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Each row's item times its weight: the transpose of ``sums``."""

    def dots(self, x: Tensor, rows: Tensor) -> Tensor:
        """Of each assignment's item with its row: the gradient of the weights, ``(A,)``."""


class Stay:
    """Rows are given as rows, and without weights."""

    def rows(self, x: Tensor) -> Tensor:
        return x

    def sums(self, rows: Tensor, weight: Tensor | None) -> Tensor:
        return rows

    def scaled(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return x

    def dots(self, x: Tensor, rows: Tensor) -> Tensor:
        raise NotImplementedError("rows without weights have no gradient for them")
