"""Deterministic split of rows into training, validation and test."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from .._task import Batch, Data
from .content import content_sha256
from .error import DataError
from .source import KEY

T = TypeVar("T")

Index = npt.NDArray[np.int64]


class Samples(Protocol):
    """Samples of a data set in memory, such as ``Images``."""

    @property
    def strata(self) -> npt.NDArray[Any]:
        """``(N,)`` what splits keep in proportion, such as the class."""

    def take(self, rows: Index) -> Self:
        """Some of the samples."""


S = TypeVar("S", bound=Samples)


class Fractions(Protocol):
    """Fractions to hold out of data without splits, and the name of the data in errors."""

    @property
    def title(self) -> str: ...

    @property
    def val(self) -> float: ...

    @property
    def test(self) -> float: ...


#: The order of splits, in files and in codes.
SPLITS = ("train", "val", "test")

_UNUSED = len(SPLITS)


@dataclass(frozen=True)
class Splits(Generic[T]):
    """Data split once.

    Attributes:
        name: of the file, folder or hub data set.
        sha256: of all files' bytes; of one file what ``sha256sum`` prints, of several that of
            their sums and names in order.
        split_sha256: of which row went where; None if the test split is of another source.
        train, val, test: the splits.
        made: names of the splits that were taken from training rows.
        guesses: options of the data set that were guessed, such as the column of the text.
    """

    name: str
    sha256: str
    split_sha256: str | None
    train: T
    val: T
    test: T
    made: tuple[str, ...] = field(default=(), kw_only=True)
    guesses: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @staticmethod
    def of(
        name: str,
        train: S,
        val: S | None = None,
        test: S | None = None,
        *,
        held_out: float = 0.1,
        sha256: str | None = None,
    ) -> "Splits[S]":
        """Splits of samples in memory, with the hash of their content.

        Args:
            name: of the data set.
            train, val, test: ``Images``, ``Texts`` or a ``Table`` each. A split that is None is
                taken from ``train``, of each class the same fraction, chosen by a fixed hash.
            held_out: that fraction.
            sha256: of the content; None to compute it.

        Raises:
            DataError: if a split would be empty.

        >>> import torch
        >>> from tasks.readers import Images
        >>> x, y = torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.arange(20) % 2
        >>> splits = Splits.of("zeros", Images(x, y, ("even", "odd")))
        >>> len(splits.train.y), len(splits.val.y), splits.made
        (16, 2, ('test', 'val'))
        """
        given = {s: p for s, p in zip(SPLITS, (train, val, test), strict=True) if p is not None}
        parts = {split: len(part.strata) for split, part in given.items()}
        made = cut(parts, _InMemory(name, held_out, held_out), train.strata)
        taken = {split: train.take(getattr(made, split)) for split in ("train", *made.made)}
        parts_of = {**given, **taken}
        three = (parts_of[split] for split in SPLITS)
        sha256 = sha256 or content_sha256(given)
        return Splits(name, sha256, made.sha256, *three, made=made.made)

    def data(self, batch_of: Callable[[T], Batch]) -> Data:
        """The splits as a task gives them to training, each what ``batch_of`` makes of it."""
        train, val, test = map(batch_of, (self.train, self.val, self.test))
        held = (train, val, test, self.split_sha256, self.made, self.guesses)
        return Data(self.name, self.sha256, *held)

    def tested_on(self, name: str, sha256: str, test: T) -> "Splits[T]":
        """These splits with another test split, called by its name and hash."""
        return Splits(name, sha256, None, self.train, self.val, test)


@dataclass(frozen=True)
class Cut:
    """Rows of each split, ascending, the hash of that decision, and the splits made by it."""

    train: Index
    val: Index
    test: Index
    sha256: str | None
    made: tuple[str, ...] = ()

    def splits(
        self, name: str, sha256: str, take: Callable[[Index], T], guesses: Mapping[str, str] = {}
    ) -> Splits[T]:
        """The splits, each what ``take`` makes of its rows."""
        parts = (take(rows) for rows in (self.train, self.val, self.test))
        return Splits(name, sha256, self.sha256, *parts, made=self.made, guesses=guesses)


@dataclass(frozen=True)
class _InMemory:
    """``Fractions`` of data that no file holds."""

    title: str
    val: float
    test: float


def cut(
    parts: Mapping[str, int],
    source: Fractions,
    strata: npt.NDArray[Any] | None = None,
    rows: int | None = None,
) -> Cut:
    """Give every row its split.

    Splits the data comes with stay as they are. Others are taken from the training rows, of
    each stratum the same fraction rounded down, chosen by a fixed hash of the row's number, so
    that a stratum never loses its last training row and every machine decides alike.

    Args:
        parts: rows of each split the data comes with, ``train`` always, in the order they stand.
        source: with the fractions for the others.
        strata: ``(N,)`` what to keep in proportion, such as the class; or None.
        rows: keep at most so many training rows.

    Raises:
        DataError: if a split would be empty.

    >>> from tasks.readers.source import Source
    >>> made = cut({"train": 10}, Source(path="x"))
    >>> len(made.train), len(made.val), len(made.test)
    (8, 1, 1)
    """
    to = np.concatenate([np.full(parts.get(s, 0), code) for code, s in enumerate(SPLITS)])
    to = to.astype(np.uint8)
    own = parts["train"]
    shares = {s: f for s, f in (("test", source.test), ("val", source.val)) if s not in parts}
    groups = np.zeros(own, np.int64) if strata is None else strata[:own]
    to[:own] = _carve(groups, shares)
    if rows is not None:
        train = np.flatnonzero(to == 0)
        to[train[np.argsort(_scatter(train), kind="stable")[rows:]]] = _UNUSED
    for code, split in enumerate(SPLITS):
        if not (to == code).any():
            raise DataError(
                f"{source.title}: no row is left for {split} of {own} training rows; "
                f"give more rows, or another {KEY}.val or {KEY}.test"
            )
    train, val, test = (np.flatnonzero(to == code) for code in range(len(SPLITS)))
    return Cut(train, val, test, hashlib.sha256(to.tobytes()).hexdigest(), tuple(shares))


def test_rows(parts: Mapping[str, int]) -> Index:
    """Rows of data to test on alone: its test split if it comes with one, else all.

    >>> test_rows({"train": 3, "test": 2}).tolist(), test_rows({"train": 3}).tolist()
    ([3, 4], [0, 1, 2])
    """
    rows = np.arange(sum(parts.values()))
    return rows[-parts["test"] :] if "test" in parts else rows


def _carve(strata: npt.NDArray[Any], shares: Mapping[str, float]) -> npt.NDArray[np.uint8]:
    """The split of each row of the training part, ``(n,)``."""
    _, group, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    order = np.lexsort((_scatter(np.arange(len(group))), group))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - (np.cumsum(sizes) - sizes)[group[order]]
    to = np.zeros(len(group), np.uint8)
    taken = np.zeros(len(sizes), np.int64)
    for split, share in shares.items():
        until = taken + np.floor(sizes * share + 1e-9).astype(np.int64)  # 100 * 0.29 is 29
        to[(rank >= taken[group]) & (rank < until[group])] = SPLITS.index(split)
        taken = until
    return to


def _scatter(rows: Index) -> npt.NDArray[np.uint64]:
    """A fixed hash of row numbers (the finaliser of SplitMix64, Steele et al. 2014)."""
    z = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
