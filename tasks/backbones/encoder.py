"""A transformer over the bytes of a text whose feed-forward layers are routed."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from routers import Routing

from .._task import Backbone, Batch, Layer
from ..text.ngram_embedding import NgramEmbedding
from .attention import rotary, to_all
from .blocks import Blocks


class Encoder(Backbone):
    """Byte n-gram embeddings, rotary positions, routed blocks, mean and largest value, a head.

    Padding is seen by nothing: not by attention, not by a router, not by the pooling.

    Source: Devlin et al. 2019, 1810.04805, over bytes; n-gram embeddings of 2412.09871.

    Args:
        layer: builds the routed layer for samples of shape ``(L, D)``.
        length: bytes in a text at most, ``L``.
        orders: lengths of the byte n-grams a byte is embedded with.
        buckets: rows of the embedding's table for each length.
        dim: ``D``.
        depth: number of blocks.
        heads: attention heads.
        classes: outputs.
        ngram_dropout: chance, in training, that an n-gram of two or more bytes is not looked at.
        dropout: chance that a value of the embedding, or of the pooled text, is left out.
        routed: which blocks are routed, from 0; None for all.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        length: int,
        orders: Sequence[int],
        buckets: int,
        dim: int,
        depth: int,
        heads: int,
        classes: int,
        ngram_dropout: float,
        dropout: float,
        routed: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.embed = NgramEmbedding(dim, orders, buckets, dropout=ngram_dropout)
        self.dropout = nn.Dropout(dropout)
        self.blocks = Blocks(
            layer,
            length=length,
            dim=dim,
            depth=depth,
            heads=heads,
            attend=partial(rotary, to_all),
            routed=routed,
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(2 * dim, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits ``(B, classes)``."""
        mask = batch["mask"]
        x = self.dropout(self.embed(batch["x"]))
        about = {"ids": batch.get("ids"), "task": batch.get("task")}
        x, routings = self.blocks(x, mask=mask, **about)
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
