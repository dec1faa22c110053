"""A text as a bag of hashed character n-grams, then routed layers over whole texts."""

from collections.abc import Sequence
from itertools import repeat
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples, check_counts, check_depth
from ..text.bytes import real
from ..text.ngrams import character_grams
from ._blocks import check_ngrams, known, residual

#: Texts hashed at a time, and bytes of these up to which there are so many.
_CHUNK, _CHUNK_BYTES = 512, 2**18

#: Seconds that a byte adds to a training step, about, and bytes that other costs contain.
_PER_BYTE, _FREE = 5e-7, 512


@BACKBONES.register("bag")
class Bag(Backbone):
    """The weighted mean of a text's n-gram vectors, residual routed layers, a linear head.

    ``v = sum_g w_g e_g / |w|`` over the n-grams ``g`` of a text, ``w_g`` the rarity of ``g``;
    then ``v += MoE(drop(v))`` for each layer. What is routed is the whole text: the batch is
    one group. A linear model of n-grams is what is left without the routed layers.

    Source: Joulin et al. 2016, 1607.01759, with the inverse document frequencies of
    Spärck Jones 1972 as weights.

    Args:
        dim: ``D``.
        depth: number of routed layers.
        ngrams: lengths of the n-grams, in characters.
        buckets: rows of the table of hashed n-grams.
        rare: an n-gram in fewer training texts than this is ignored, since the network would
            only memorize those texts by it.
        ngram_dropout: probability of ignoring an n-gram in training.
        dropout: probability of zeroing a value before a routed layer and the head.
    """

    reads = "texts"
    sample_axes = ("D",)
    #: Deviation of the n-gram vectors at the start.
    spread: ClassVar[float] = 0.05
    rarity: Tensor

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        dim: int = 64,
        depth: int = 2,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**13,
        rare: int = 2,
        ngram_dropout: float = 0.5,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_counts(dim=dim, rare=rare)
        check_depth(depth)
        check_ngrams(ngrams, buckets, ngram_dropout=ngram_dropout, dropout=dropout)
        self.ngrams = tuple(ngrams)
        self.seconds_per_sample = _PER_BYTE * max(0, samples.shape[0] - _FREE)
        rarity = samples.once(inverse_document_frequency, self.ngrams, buckets, rare)
        self.register_buffer("rarity", rarity.to(torch.get_default_dtype()))
        self.add_linear_model(samples.outputs)
        self.table = nn.Parameter(torch.randn(len(rarity), dim) * self.spread)
        self.ngram_dropout = nn.Dropout(ngram_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.head = self.make_head(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits ``(B, classes)``."""
        grams, holds = character_grams(batch["x"], batch["mask"], self.ngrams, len(self.rarity))
        grams, weight = self.weigh(grams, holds)
        weight = F.normalize(self.ngram_dropout(weight), dim=1)
        x = pooled(self.table, grams, weight)
        x, routings = residual(x, self.layers, repeat(self.dropout), **known(batch))
        return self.logits(x, grams, weight), routings

    def add_linear_model(self, outputs: int) -> None:
        """Add the parameters of a linear model of the n-grams, if any, before all others."""

    def make_head(self, dim: int, outputs: int) -> nn.Linear:
        """The layer from vectors of texts to logits."""
        return nn.Linear(dim, outputs)

    def logits(self, x: Tensor, grams: Tensor, weight: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of vectors of texts ``(B, D)``, n-grams and their weights."""
        logits: Tensor = self.head(self.dropout(x))
        return logits

    def weigh(self, grams: Tensor, holds: Tensor) -> tuple[Tensor, Tensor]:
        """N-grams ``(B, G)``, as ``character_grams`` returns them, and a weight for each."""
        return grams, self.rarity[grams] * holds


def pooled(table: Tensor, grams: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of rows, ``(B, D)``."""
    return F.embedding_bag(grams, table, per_sample_weights=weight, mode="sum")


def inverse_document_frequency(
    texts: Batch, ngrams: Sequence[int], buckets: int, rare: int = 0
) -> Tensor:
    """``ln((1 + N) / (1 + n_g)) + 1`` for the ``n_g`` of ``N`` texts that hold ``g``.

    Texts are bytes ``x`` ``(N, L)`` and their ``length`` ``(N,)``, the result ``(buckets,)``
    float32. An n-gram in fewer than ``rare`` texts gets 0.

    >>> texts = {"x": torch.tensor([list(b"aa"), list(b"ab")]), "length": torch.tensor([2, 2])}
    >>> rarity = inverse_document_frequency(texts, (1,), 1000)
    >>> sorted({round(value, 2) for value in rarity.tolist()})  # in both texts, one and none
    [1.0, 1.41, 2.1]
    """
    counts = torch.zeros(buckets)
    rows = max(1, min(_CHUNK, _CHUNK_BYTES // texts["x"].shape[1]))
    for start in range(0, len(texts["x"]), rows):
        lengths = texts["length"][start : start + rows]
        longest = int(lengths.max())
        x = texts["x"][start : start + rows, :longest]
        found, holds = character_grams(x, real(lengths, longest), ngrams, buckets)
        for row, keep in zip(found, holds, strict=True):
            counts[row[keep]] += 1  # repeats write the same number
    number = len(texts["x"])
    return torch.where(counts < rare, 0.0, torch.log((1 + number) / (1 + counts)) + 1)
