"""The rank of a process among those that train a run, and its share of a batch."""

from dataclasses import dataclass

from torch import Tensor

from .._task import Batch


@dataclass(frozen=True)
class Rank:
    """One of the processes that train a run; by default the only one.

    Attributes:
        rank: index of the process, from 0.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """The part of some rows that belongs to this process, in their order.

        >>> import torch
        >>> [Rank(rank, world_size=3).share(torch.arange(5)).tolist() for rank in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return rows.tensor_split(self.world_size)[self.rank]

    def share_of(self, batch: Batch) -> Batch:
        """The part of a batch that belongs to this process."""
        return {name: self.share(values) for name, values in batch.items()}

    def all(self) -> list["Rank"]:
        """All ranks of the run, this one included."""
        return [Rank(rank, self.world_size) for rank in range(self.world_size)]
