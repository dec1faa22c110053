"""Inverse document frequencies of hashed n-grams."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from routers import OptionError

from .._task import Batch
from ..text.bytes import real
from ..text.char_ngrams import character_grams
from ._blocks import check_ngrams

#: Texts hashed at a time.
_CHUNK = 512


def inverse_document_frequency(
    texts: Batch, ngrams: Sequence[int], buckets: int, rare: int = 0
) -> Tensor:
    """``ln((1 + N) / (1 + n_g)) + 1`` for the ``n_g`` of ``N`` texts that hold ``g``.

    Args:
        texts: bytes ``x`` ``(N, L)`` and their ``length`` ``(N,)``.
        ngrams: lengths of the n-grams, in characters.
        buckets: hashes are below this.
        rare: an n-gram in fewer texts than this gets 0.

    Returns:
        ``(buckets,)`` float32.

    >>> texts = {"x": torch.tensor([list(b"aa"), list(b"ab")]), "length": torch.tensor([2, 2])}
    >>> rarity = inverse_document_frequency(texts, (1,), 1000)
    >>> sorted({round(value, 2) for value in rarity.tolist()})  # in both texts, one and none
    [1.0, 1.41, 2.1]
    """
    counts = torch.zeros(buckets)
    for found in _grams(texts, ngrams, buckets):
        counts[found] += 1  # repeats write the same number
    number = len(texts["x"])
    return torch.where(counts < rare, 0.0, torch.log((1 + number) / (1 + counts)) + 1)


def _grams(texts: Batch, ngrams: Sequence[int], buckets: int) -> Iterator[Tensor]:
    """The hashes of each text."""
    for x, lengths in zip(
        torch.split(texts["x"], _CHUNK), torch.split(texts["length"], _CHUNK), strict=True
    ):
        longest = int(lengths.max())
        found, holds = character_grams(x[:, :longest], real(lengths, longest), ngrams, buckets)
        yield from (row[keep] for row, keep in zip(found, holds, strict=True))


def check_bag(dim: int, depth: int, ngrams: Sequence[int], buckets: int, rare: int) -> None:
    """Raise ``OptionError`` for an impossible bag of n-grams."""
    for name, value in {"dim": dim, "depth": depth, "rare": rare}.items():
        if value < 1:
            raise OptionError(name, value, "an integer >= 1")
    check_ngrams(ngrams, buckets)
