"""Which of several devices a process works with, and what its share of a batch is."""

from dataclasses import dataclass

from torch import Tensor

from .._task import Batch


@dataclass(frozen=True)
class Rank:
    """One of the processes that train a run together; the only one, unless told otherwise.

    Attributes:
        number: from 0.
        of: how many there are.
    """

    number: int = 0
    of: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """The part of some rows that is this rank's: as even as can be, in their order.

        >>> import torch
        >>> [Rank(number, of=3).share(torch.arange(5)).tolist() for number in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return rows.tensor_split(self.of)[self.number]

    def share_of(self, batch: Batch) -> Batch:
        """The same part of all that a batch holds."""
        return {name: self.share(values) for name, values in batch.items()}

    def all(self) -> list["Rank"]:
        """All ranks of the run, this one among them."""
        return [Rank(number, self.of) for number in range(self.of)]
