"""Samples read from a torch ``Dataset`` when a batch asks for them: sets larger than memory."""

import random
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from routers import ConfigError

from .._task import Batch
from .seeds import mix_seed

#: Most worker processes that read samples.
MAX_WORKERS = 4


class OnDemand:
    """A tensor whose rows are read when they are asked for.

    It has the shape, length and type of the tensor that it stands for. Random draws of a sample
    depend on the seed and its row alone, whatever process reads it.

    Args:
        read: one row, of its place.
        places: ``(N,)`` where the rows are, int64.
        shape: of a row.

    >>> squares = OnDemand(lambda place: torch.tensor([place**2]), torch.tensor([3, 1, 2]), (1,))
    >>> squares.shape, squares[1:].tolist()
    ((3, 1), [[1], [4]])
    """

    dtype = torch.uint8

    def __init__(self, read: Callable[[int], Tensor], places: Tensor, shape: Sequence[int]) -> None:
        self.read = read
        self.places = places
        self.shape = (len(places), *shape)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self.fetch(rows, 0)

    def fetch(self, rows: slice | Tensor, seed: int) -> Tensor:
        """Some rows, ``(n, …)``, with random draws that ``seed`` decides."""
        places = self.places[rows].tolist()
        with seeded_draws() as reseed:
            found = []
            for place in places:
                reseed(mix_seed(seed, place))
                found.append(self.read(place))
        return torch.stack(found) if found else torch.empty((0, *self.shape[1:]), dtype=self.dtype)

    def select(self, rows: Any) -> "OnDemand":
        """Some rows, not yet read."""
        return OnDemand(self.read, self.places[rows], self.shape[1:])


@contextmanager
def seeded_draws() -> Iterator[Callable[[int], None]]:
    """Yield a function that seeds Python, NumPy and torch; afterwards their states are restored."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield _seed
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.set_rng_state(kept[2])


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  transforms of others draw from it
    torch.default_generator.manual_seed(seed)


def read_batches(
    split: Batch, chunks: Iterable[slice | Tensor], seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """The batches of some rows each, in order; worker processes read what is on demand."""
    if not any(isinstance(values, OnDemand) for values in split.values()):
        for rows in chunks:
            yield {name: values[rows] for name, values in split.items()}
        return
    yield from read_ahead(_Rows(split, seed), chunks)


def read_ahead(dataset: Dataset[Any], rows: Iterable[Any]) -> Iterator[Any]:
    """Samples of a dataset at some rows, in their order, read by worker processes.

    Raises:
        ConfigError: if a worker raised one, with its message.
    """
    from joblib import cpu_count  # type: ignore[import-untyped]  # those of this process

    loader: DataLoader[Any] = DataLoader(
        _Reporting(dataset),
        batch_size=None,
        sampler=rows,
        num_workers=min(MAX_WORKERS, cpu_count() - 1),
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # without one it draws from that of the training
    )
    for found in loader:
        if isinstance(found, _Failure):
            raise ConfigError(found.message)
        yield found


@dataclass(frozen=True)
class _Failure:
    """The message of an error in a worker, whose traceback torch would add to it."""

    message: str


class _Reporting(Dataset[Any]):
    """A dataset that returns its ``ConfigError``."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, row: Any) -> Any:
        try:
            return self.dataset[row]
        except ConfigError as error:
            return _Failure(str(error))


def _leave_signals(_: int) -> None:
    """Leave Ctrl-C to the training, which saves its state first, and end when it says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Rows(Dataset[dict[str, Tensor]]):
    """The batch of some rows of a split."""

    def __init__(self, split: Batch, seed: int) -> None:
        self.split = split
        self.seed = seed

    def __getitem__(self, rows: Any) -> dict[str, Tensor]:
        return {
            name: values.fetch(rows, self.seed) if isinstance(values, OnDemand) else values[rows]
            for name, values in self.split.items()
        }
