"""A causal transformer over bytes whose feed-forward layers are routed."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from experts import attend_to_past, rotary
from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples
from ..text.ngrams import NgramEmbedding
from ._blocks import Blocks, check_blocks, check_ngrams


@BACKBONES.register("decoder")
class Decoder(Backbone):
    """Byte n-gram embeddings, rotary positions, routed causal blocks, a linear head.

    Source: Radford et al. 2019 (GPT-2), with the n-gram embeddings of 2412.09871.

    Args:
        dim: ``D``, a multiple of ``2 * heads``.
        depth: number of blocks.
        heads: attention heads.
        ngrams: lengths of the byte n-grams that a byte is embedded with; ``[1]`` for bytes alone.
        buckets: rows of the embedding's table for each length.
        ngram_dropout: probability of ignoring an n-gram of two or more bytes in training.
        dropout: probability of zeroing a value of the embedding, or of the last block.
        routed: indices of the routed blocks, from 0; None for all. The others are dense.
        attention: of the routed blocks, ``dense``; ``moa``, a mixture of attention heads: the
            router of a layer before each routed one picks among ``moe.num_experts`` heads; or
            ``switch_head``: each head has two routers, of values and of outputs, that pick among
            ``moe.num_experts`` separate ones each.
    """

    reads = "windows"
    reads_tokens = True
    routes_tokens = True
    sample_axes = ("L", "D")

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**14,
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
        shape, attend = (samples.shape[0], dim), partial(rotary, attend_to_past)
        self.blocks = Blocks(layer, shape, depth, heads, attend, routed, attention)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits of the next ones, ``(B, L, V)``."""
        x = self.dropout(self.embed(batch["x"]))
        x, routings = self.blocks(x, ids=batch.get("ids"))
        return self.head(self.dropout(self.norm(x))), routings
