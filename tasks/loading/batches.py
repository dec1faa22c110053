"""Batches: sliced tensors in an order that a seed, an epoch and a position fix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._task import Batch
from .on_demand import read_batches
from .seeds import mix_seed


@dataclass(frozen=True)
class Rank:
    """One of the processes that train a run; by default the only one.

    ``rank`` is the index of the process, from 0, and ``world_size`` the number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """The part of some rows that belongs to this process, in their order.

        >>> [Rank(rank, world_size=3).share(torch.arange(5)).tolist() for rank in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return rows.tensor_split(self.world_size)[self.rank]

    def all(self) -> list["Rank"]:
        """All ranks of the run, this one included."""
        return [Rank(rank, self.world_size) for rank in range(self.world_size)]


#: The rank of a process that trains alone.
WHOLE = Rank()


def num_rows(split: Batch) -> int:
    """Number of samples in a split."""
    return len(next(iter(split.values())))


def limited(batches: int, limit: float | None) -> int:
    """The number of batches that a limit leaves, an integer of them or a fraction in a float.

    >>> limited(10, 1), limited(10, 1.0), limited(10, 0.25), limited(10, 20), limited(10, None)
    (1, 10, 2, 10, 10)
    """
    if limit is None:
        return batches
    return min(batches, limit if isinstance(limit, int) else int(batches * limit))


class Batches:
    """Batches of a split, reshuffled each epoch; the state is an epoch and a position.

    Slicing tensors costs a hundredth of a worker process's overhead; only what is not in memory
    is read by workers. The order depends on ``(seed, epoch)`` alone, so every router sees the
    same data in the same order, and a resumed run continues with the next batch.

    Args:
        split: named tensors with the same first axis.
        size: of a batch; a last, shorter batch is left out.
        seed: of the order.
        rank: the process whose share of every batch is returned.
        limit: of the batches of an epoch, a number or a fraction; None for all.

    >>> batches = Batches({"x": torch.arange(5)}, size=2, seed=0)
    >>> len(batches), sum(len(batch["x"]) for batch in batches)
    (2, 4)
    """

    def __init__(
        self,
        split: Batch,
        size: int,
        seed: int,
        rank: Rank = WHOLE,
        limit: float | None = None,
    ) -> None:
        self.split = split
        self.size = size
        self.seed = seed
        self.rank = rank
        self.epoch = 0
        self.start = 0  # of the next pass, in batches
        self.position = 0  # batches handed out in this pass
        self.rows = num_rows(split)
        self.batches = limited(self.rows // size, limit)

    @property
    def sampler(self) -> "Batches":
        """Lightning announces each epoch to the loader's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        seed = mix_seed(self.seed, self.epoch)
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(seed))
        start, self.start = self.start, 0
        steps = range(start, len(self))
        chunks = (order[step * self.size : (step + 1) * self.size] for step in steps)
        batches = read_batches(self.split, map(self.rank.share, chunks), seed)
        for self.position, batch in enumerate(batches, start + 1):
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Position of the next batch; Lightning stores the epoch."""
        return {"position": self.position % len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.start = self.position = state["position"]


class InOrder:
    """All of a split in order, the last batch shorter: what evaluation reads.

    The shares of ``ranks`` in every batch are returned one after another. Every process has a share
    of each: a last batch with too few rows belongs to the one before.

    >>> [len(batch["x"]) for batch in InOrder({"x": torch.arange(5)}, size=2)]
    [2, 2, 1]
    """

    def __init__(self, split: Batch, size: int, ranks: Sequence[Rank] = (WHOLE,)) -> None:
        self.split = split
        self.size = size
        self.ranks = ranks
        self.rows = num_rows(split)

    def __len__(self) -> int:
        return len(self._chunks()) * len(self.ranks)

    def __iter__(self) -> Iterator[Batch]:
        for batch in read_batches(self.split, self._chunks()):
            for rank in self.ranks:
                yield {name: rank.share(values) for name, values in batch.items()}

    def _chunks(self) -> list[slice]:
        starts = [*range(0, self.rows, self.size)]
        if len(starts) > 1 and self.rows - starts[-1] < self.ranks[0].world_size:
            starts.pop()
        return [*map(slice, starts, [*starts[1:], self.rows])]
