"""A transformer over the bytes of a text whose feed-forward layers are routed."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from experts import attend_to_all, rotary
from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples
from ..text.ngrams import NgramEmbedding
from ._blocks import Blocks, check_blocks, check_ngrams, known


@BACKBONES.register("encoder")
class Encoder(Backbone):
    """Byte n-gram embeddings, rotary positions, routed blocks, mean and largest value, a head.

    Padding is seen by nothing: not by attention, not by a router, not by the pooling.

    Source: Devlin et al. 2019, 1810.04805, over bytes; n-gram embeddings of 2412.09871.

    Args:
        dropout: probability of zeroing a value of the embedding, or of the pooled text.
        dim, depth, heads, ngrams, buckets, ngram_dropout, routed, attention: as in ``decoder``.
    """

    reads = "texts"
    reads_tokens = True
    routes_tokens = True
    sample_axes = ("L", "D")

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**13,
        ngram_dropout: float = 0.5,
        dropout: float = 0.2,
        routed: Sequence[int] | None = None,
        attention: str = "dense",
    ) -> None:
        super().__init__()
        check_blocks(dim, depth, heads, routed, attention, pairs=True)
        check_ngrams(ngrams, buckets, ngram_dropout=ngram_dropout, dropout=dropout)
        self.embed = NgramEmbedding(
            dim, ngrams, buckets, dropout=ngram_dropout, vocabulary=samples.vocabulary
        )
        self.dropout = nn.Dropout(dropout)
        shape, attend = (samples.shape[0], dim), partial(rotary, attend_to_all)
        self.blocks = Blocks(layer, shape, depth, heads, attend, routed, attention)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(2 * dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits ``(B, classes)``."""
        mask = batch["mask"]
        x = self.dropout(self.embed(batch["x"]))
        x, routings = self.blocks(x, mask=mask, **known(batch))
        return self.head(self.dropout(pooled(self.norm(x), mask))), routings


def pooled(x: Tensor, mask: Tensor) -> Tensor:
    """Mean and largest value over real positions, ``(B, L, D)`` to ``(B, 2 D)``.

    >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> pooled(x, torch.tensor([[True, True, False]])).tolist()
    [[2.0, 3.0]]
    """
    padding = ~mask.unsqueeze(-1)
    mean = x.masked_fill(padding, 0.0).sum(1) / mask.sum(1, keepdim=True)
    return torch.cat([mean, x.masked_fill(padding, -torch.inf).amax(1)], -1)
