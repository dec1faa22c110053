"""Unicode character names: three properties of a character at once, from the bytes of its name."""

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._task import TASKS, Batch, Data, check_rates
from .bases.multi_target import MultiTask
from .multi_target.targets import Target
from .text.bytes import byte_counts, pad, real
from .text.ngrams import NgramEmbedding, ngram_hashes
from .text.unicode_names import read_names

#: Hashed words and pairs of words; 0 is for none.
WORDS = 2**14


@TASKS.register("char_properties")
class CharProperties(MultiTask):
    """Three targets of 12,886 Unicode character names: category, direction and width.

    General category (26 classes), bidirectional class (18) and East Asian width (6), as in
    ``unicodedata.ucd_3_2_0``, which ships with Python and is frozen. A name is routed as a whole:
    the sum of its hashed byte n-grams, words and pairs of words.

    Source: the properties are those of the Unicode Character Database 3.2; the encoder is a bag of
    n-grams as in Joulin et al. 2016, 1607.01759.

    Args:
        dim, depth, sharing, tower, dropout, weighting, weights: as in ``multitask``; there are no
            views to share.
        gram_dropout: probability of leaving out an n-gram or a word, in training.

    >>> [len(target.classes) for target in CharProperties().targets]
    [26, 18, 6]
    """

    outputs = ("category", "bidirectional", "width")

    def __init__(
        self,
        *,
        dim: int = 64,
        depth: int = 1,
        sharing: str | Mapping[str, Any] = "mmoe",
        tower: int = 64,
        dropout: float = 0.2,
        gram_dropout: float = 0.4,
        weighting: str | Mapping[str, Any] = "fixed",
        weights: dict[str, float] = {},
    ) -> None:
        super().__init__(dim, depth, sharing, tower, dropout, weighting, weights)
        check_rates(gram_dropout=gram_dropout)
        self.gram_dropout = gram_dropout

    @property
    def targets(self) -> tuple[Target, ...]:
        properties = read_names().properties
        return tuple(Target(name, "classes", properties[name].classes) for name in self.outputs)

    def data(self) -> Data:
        found = read_names()
        x, lengths = pad(found.names, max(map(len, found.names)))
        words = word_ids(found.names)
        y = torch.stack([found.properties[name].y for name in self.outputs], 1).float()
        train, val, test = (
            {"x": x[rows], "lengths": lengths[rows], "words": words[rows], "y": y[rows]}
            for rows in (found.train, found.val, found.test)
        )
        return Data("char_properties", found.sha256, train, val, test, found.split_sha256)

    def encoder(self) -> nn.Module:
        return NameEncoder(self.dim, self.gram_dropout)

    def collate(self, batch: Batch) -> Batch:
        length = int(batch["lengths"].max())
        mask = real(batch["lengths"], length)
        return {**batch, "x": batch["x"][:, :length], "mask": mask}

    def describe(self, batch: Batch) -> Batch:
        """A name's id is that of its last four bytes."""
        hashes = ngram_hashes(batch["x"], 4)
        return {**batch, "ids": hashes.gather(1, batch["lengths"].unsqueeze(1) - 1).squeeze(1)}

    def features(self, batch: Batch) -> Tensor:
        """Counts of each byte, ``(B, 256)``."""
        return byte_counts(batch["x"], batch["mask"])


def word_ids(names: Sequence[bytes]) -> Tensor:
    """Hashed words and pairs of words, the first and the last word once more as such.

    Words are between spaces or hyphens. The result is ``(N, W)`` int64 from 1 to below ``WORDS``,
    0 after the last.

    >>> found = word_ids([b"LATIN SMALL LETTER A", b"LETTER A"])
    >>> found.shape, len(set(found[1].tolist()) & set(found[0].tolist()) - {0})
    (torch.Size([2, 9]), 4)
    """
    rows = ([1 + zlib.crc32(part) % (WORDS - 1) for part in _parts(name)] for name in names)
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _parts(name: bytes) -> list[bytes]:
    words = name.replace(b"-", b" ").split()
    return [*words, *map(b" ".join, pairwise(words)), b"^" + words[0], words[-1] + b"$"]


class NameEncoder(nn.Module):
    """The sum of a vector for every byte n-gram, word and pair of words: ``(B, dim)``.

    Each is left out with probability ``dropout`` in training. What training never met starts at
    0 and adds nothing.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.grams = NgramEmbedding(dim, dropout=dropout)
        self.words = nn.Parameter(torch.zeros(WORDS, dim))
        self.dropout = dropout

    def forward(self, batch: Batch) -> Tensor:
        """Bytes ``x`` ``(B, L)``, ``mask`` and hashed ``words`` of a batch."""
        mask, words = batch["mask"].unsqueeze(-1), batch["words"]
        grams = self.grams(batch["x"]).masked_fill(~mask, 0.0).sum(1) / mask.sum(1).sqrt()
        stays = F.dropout((words > 0).to(grams.dtype), self.dropout, self.training)
        return grams + F.embedding_bag(words, self.words, mode="sum", per_sample_weights=stays)
