"""Inverse document frequencies of hashed n-grams."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._task import Batch
from ..text.bytes import real
from ..text.char_ngrams import character_grams

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
    for start in range(0, len(texts["x"]), _CHUNK):
        lengths = texts["length"][start : start + _CHUNK]
        longest = int(lengths.max())
        x = texts["x"][start : start + _CHUNK, :longest]
        found, holds = character_grams(x, real(lengths, longest), ngrams, buckets)
        for row, keep in zip(found, holds, strict=True):
            counts[row[keep]] += 1  # repeats write the same number
    number = len(texts["x"])
    return torch.where(counts < rare, 0.0, torch.log((1 + number) / (1 + counts)) + 1)
