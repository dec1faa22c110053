"""A text as a bag of hashed character n-grams, then routed layers over whole texts."""

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples, check_counts
from ..text.char_ngrams import character_grams
from ._blocks import check_ngrams, known, residual
from ._document_frequency import inverse_document_frequency


@BACKBONES.register("bag")
class Bag(Backbone):
    """The weighted mean of a text's n-gram vectors, residual routed layers, a linear head.

    ``v = sum_g w_g e_g / |w|`` over the n-grams ``g`` of a text, ``w_g`` the rarity of ``g``;
    then ``v += MoE(drop(v))`` for each layer. What is routed is the whole text: the batch is
    one group. A linear model of n-grams is what is left without the routed layers.

    Source: Joulin et al. 2016, 1607.01759, with the inverse document frequencies of
    Spärck Jones 1972 as weights.

    Args:
        layer: builds the routed layer for samples of shape ``(D,)``.
        samples: texts, and how many classes they have.
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
        check_counts(dim=dim, depth=depth, rare=rare)
        check_ngrams(ngrams, buckets, ngram_dropout=ngram_dropout, dropout=dropout)
        self.ngrams = tuple(ngrams)
        rarity = inverse_document_frequency(samples.train, self.ngrams, buckets, rare)
        self.register_buffer("rarity", rarity.to(torch.get_default_dtype()))
        self.table = nn.Parameter(torch.randn(len(rarity), dim) * 0.05)
        self.ngram_dropout = nn.Dropout(ngram_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.head = nn.Linear(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits ``(B, classes)``."""
        x = self.embed(batch["x"], batch["mask"])
        x, routings = residual(x, self.layers, repeat(self.dropout), **known(batch))
        return self.head(self.dropout(x)), routings

    def embed(self, x: Tensor, mask: Tensor) -> Tensor:
        """Bytes ``(B, L)`` to the vectors of the texts, ``(B, D)``."""
        grams, real = character_grams(x, mask, self.ngrams, len(self.rarity))
        weight = self.ngram_dropout(self.rarity[grams] * real)
        weight = F.normalize(weight, dim=1)
        return F.embedding_bag(grams, self.table, per_sample_weights=weight, mode="sum")
