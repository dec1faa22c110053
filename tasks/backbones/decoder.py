"""A causal transformer over bytes whose feed-forward layers are routed."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from routers import Routing

from .._task import Backbone, Batch, Layer
from ..text.bytes import BYTES
from ..text.ngram_embedding import NgramEmbedding
from .attention import rotary, to_past
from .blocks import Blocks


class Decoder(Backbone):
    """Byte n-gram embeddings, rotary positions, routed causal blocks, a linear head.

    Source: Radford et al. 2019 (GPT-2), with the n-gram embeddings of 2412.09871.

    Args:
        layer: builds the routed layer for samples of shape ``(L, D)``.
        length: bytes in a window, ``L``.
        dim: ``D``.
        depth: number of blocks.
        heads: attention heads.
        ngrams: lengths of the n-grams a byte is embedded with.
        buckets: rows of the embedding's table for each length.
        ngram_dropout: chance, in training, that an n-gram of two or more bytes is not looked at.
        dropout: chance that a value of the embedding, or of the last block, is left out.
        routed: which blocks are routed, from 0; None for all.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        length: int,
        dim: int,
        depth: int,
        heads: int,
        ngrams: Sequence[int],
        buckets: int,
        ngram_dropout: float,
        dropout: float,
        routed: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.embed = NgramEmbedding(dim, ngrams, buckets, dropout=ngram_dropout)
        self.dropout = nn.Dropout(dropout)
        self.blocks = Blocks(
            layer,
            length=length,
            dim=dim,
            depth=depth,
            heads=heads,
            attend=partial(rotary, to_past),
            routed=routed,
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, BYTES)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits of the next ones, ``(B, L, 256)``."""
        x = self.dropout(self.embed(batch["x"]))
        x, routings = self.blocks(x, ids=batch.get("ids"))
        return self.head(self.dropout(self.norm(x))), routings
