"""Logistic regression on the TF-IDF of hashed character n-grams, next to routed layers."""

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

#: What the linear model's weights are multiplied by: plain descent takes steps 3 times as long
#: in them as in the rest of the network, as the small inputs of a linear model ask for, and a
#: weight decay of 1e-4 pulls on them as 1e-4 / 1.75^2 does on plain weights. That is logistic
#: regression with C = 2 on 15,000 texts.
_WIDE = 1.75


@BACKBONES.register("wide_bag")
class WideBag(Backbone):
    """A linear model of a text's n-grams, plus what routed layers make of their vectors.

    With ``w`` the TF-IDF weights of the n-grams ``g`` of a text (``tf_idf``), the logits are
    ``sum_g w_g (wide_g)`` and a head of ``v = sum_g w_g e_g``, to which each routed layer adds:
    ``v += MoE(drop(v))``. What is routed is the whole text: the batch is one group. The linear
    part and the head start at 0; ``e_g`` at standard normals, so that ``v`` is a random
    projection of the text with values of variance 1.

    Source: Cheng et al. 2016, 1606.07792, for wide and deep parts; Joulin et al. 2016, 1607.01759,
    for the n-grams.

    Args:
        layer, samples, dim, depth, ngrams, buckets, rare, ngram_dropout, dropout: as in ``Bag``.
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
        self.wide = nn.Parameter(torch.zeros(len(rarity), samples.outputs))
        self.table = nn.Parameter(torch.randn(len(rarity), dim))
        self.ngram_dropout = nn.Dropout(ngram_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.head = nn.Linear(dim, samples.outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits ``(B, classes)``."""
        grams, weight = self.weighed(batch["x"], batch["mask"])
        x = _pooled(self.table, grams, weight)
        x, routings = residual(x, self.layers, repeat(self.dropout), **known(batch))
        wide = _WIDE * _pooled(self.wide, grams, weight)
        return wide + self.head(self.dropout(x)), routings

    def weighed(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes ``(B, L)`` to n-grams ``(B, G)`` and their weights, of length 1 in each text."""
        grams, real = character_grams(x, mask, self.ngrams, len(self.rarity))
        grams, weight = tf_idf(grams, real, self.rarity)
        return grams, F.normalize(self.ngram_dropout(weight), dim=1)


def _pooled(table: Tensor, grams: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of rows, ``(B, D)``."""
    return F.embedding_bag(grams, table, per_sample_weights=weight, mode="sum")


def tf_idf(grams: Tensor, real: Tensor, rarity: Tensor) -> tuple[Tensor, Tensor]:
    """The n-grams of each text once, weighed ``(1 + ln c) r`` for ``c`` times of rarity ``r``.

    Source: Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval".

    Args:
        grams: ``(B, G)`` int64, repeats allowed.
        real: ``(B, G)`` bool, False where there is none.
        rarity: ``(buckets,)``, of each n-gram.

    Returns:
        Hashes ``(B, U)``, for the ``U`` of the text with most different ones, and weights
        ``(B, U)``; both are 0 after the last.

    >>> grams, weight = tf_idf(torch.tensor([[2, 0, 2]]), torch.ones(1, 3).bool(), torch.ones(3))
    >>> grams.tolist(), [round(value, 2) for value in weight[0].tolist()]  # 1 and 1 + ln 2
    ([[0, 2]], [1.0, 1.69])
    """
    none = len(rarity)  # sorts after every n-gram
    ordered = grams.masked_fill(~real, none).sort(1).values
    new = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True)
    place = new.cumsum(1) - 1
    width = int(place[:, -1].max()) + 1
    once = ordered.new_full((len(grams), width), none).scatter_(1, place, ordered)
    times = rarity.new_zeros(once.shape).scatter_add_(1, place, rarity.new_ones(place.shape))
    known = once < none
    once = once.where(known, 0)
    return once, torch.where(known, (1 + times.log()) * rarity[once], 0)
