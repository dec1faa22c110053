"""Language models over bytes: everything but where the text comes from."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, OptionError

from .._task import Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task
from ..backbones.blocks import check_blocks
from ..backbones.decoder import Decoder
from ..readers import Splits
from ..text.byte_classes import CLASSES, class_of, features_of
from ..text.bytes import UNSCORED, covering, windows
from ..text.ngram_embedding import ngram_hashes


class Language(Task):
    """Every byte of a text is predicted from the ones before it.

    A sample is a window of ``length`` bytes; each predicts the one after it. Windows overlap by
    ``context`` bytes. In training all their bytes count, so an epoch, the shuffled windows,
    meets each byte about ``length / (length - context)`` times. In evaluation each byte of the
    split but its very first counts exactly once, in the window that is the first to reach it:
    after at least ``context`` others, but for the first window. The score is the mean of
    ``-log2 p`` over these, in bits per byte.

    Args:
        dim: ``D``, a multiple of ``2 * heads``.
        depth: number of blocks.
        heads: attention heads.
        length: bytes in a window.
        context: bytes that windows share.
        ngrams: lengths of the byte n-grams a byte is embedded with; ``[1]`` for bytes alone.
        buckets: rows of the embedding's table for each of these.
        ngram_dropout: chance, in training, that an n-gram of two or more bytes is not looked at.
        dropout: chance that a value of the embedding, or of the last block, is left out.
        routed: which blocks are routed, from 0; None for all. The others are dense.
        ids: how many last bytes an item's id, which hash routing looks up, stands for.

    Raises:
        ConfigError: naming the option that cannot be.
    """

    score = Score("bits_per_byte", "minimize")
    causal = True
    has_ids = True

    def __init__(
        self,
        *,
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        length: int = 256,
        context: int = 128,
        ngrams: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**14,
        ngram_dropout: float = 0.5,
        dropout: float = 0.2,
        routed: Sequence[int] | None = None,
        ids: int = 1,
    ) -> None:
        check_blocks(dim, depth, heads, routed)
        if dim % (2 * heads):
            raise OptionError("task.dim", dim, f"a multiple of twice task.heads={heads}")
        if length < 2:
            raise OptionError("task.length", length, "an integer of at least 2")
        if not 0 <= context < length:
            raise OptionError("task.context", context, f"an integer from 0 to below {length}")
        if not ngrams or min(ngrams) < 1 or len(set(ngrams)) < len(ngrams):
            raise OptionError("task.ngrams", list(ngrams), "different integers of at least 1")
        if buckets < 1:
            raise OptionError("task.buckets", buckets, "an integer of at least 1")
        for key, rate in {"ngram_dropout": ngram_dropout, "dropout": dropout}.items():
            if not 0 <= rate < 1:
                raise OptionError(f"task.{key}", rate, "a number from 0 to below 1")
        if ids < 1:
            raise OptionError("task.ids", ids, "an integer of at least 1")
        self.length = length
        self.context = context
        self.ids = ids
        self.network = partial(
            Decoder,
            length=length,
            dim=dim,
            depth=depth,
            heads=heads,
            ngrams=tuple(ngrams),
            buckets=buckets,
            ngram_dropout=ngram_dropout,
            dropout=dropout,
            routed=routed,
        )

    @abstractmethod
    def corpus(self) -> Splits[Tensor]:
        """The text, ``(bytes,)`` uint8 per split."""

    def data(self) -> Data:
        corpus = self.corpus()
        splits = {"train": corpus.train, "val": corpus.val, "test": corpus.test}
        for name, text in splits.items():
            least = self.length + 1 if name == "train" else 2
            if len(text) < least:
                raise ConfigError(
                    f"{corpus.name}: its {name} split has {len(text)} bytes, and "
                    f"task.length={self.length} needs {least}; give more text or a lower "
                    "task.length"
                )
        return Data(
            corpus.name,
            corpus.sha256,
            self._train_windows(corpus.train),
            self._windows(corpus.val),
            self._windows(corpus.test),
            corpus.split_sha256,
        )

    def backbone(self, layer: Layer) -> Backbone:
        return self.network(layer)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), batch["y"].flatten(), ignore_index=UNSCORED)

    def measures(self) -> dict[str, MetricSpec]:
        from ..metrics.bits_per_byte import BitsPerByte

        return {self.score.name: MetricSpec(BitsPerByte())}

    def kinds(self) -> tuple[Labeling, ...]:
        return (Labeling("byte", CLASSES, _classes),)

    def collate(self, batch: Batch) -> Batch:
        """Targets as ``(B, L)`` int64, ``UNSCORED`` where another window scores them."""
        y = batch["y"].long()
        place = torch.arange(y.shape[1], device=y.device)
        return {**batch, "y": y.masked_fill(place < batch["context"].unsqueeze(1), UNSCORED)}

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": ngram_hashes(batch["x"], self.ids)}

    def features(self, batch: Batch) -> Tensor:
        return features_of(batch["x"], self.ids)

    def _train_windows(self, text: Tensor) -> Batch:
        """Overlapping views of the text, every byte scored in each."""
        cut = windows(text, self.length + 1, self.length - self.context)
        return _pairs(cut, torch.zeros(1, dtype=torch.int64).expand(len(cut)))

    def _windows(self, text: Tensor) -> Batch:
        """Windows in which every byte but the first is scored once."""
        cut, seen = covering(text, self.length + 1, self.length - self.context)
        return _pairs(cut, (seen - 1).clamp_min(0))


def _classes(batch: Batch) -> Tensor:
    return class_of(batch["x"])


def _pairs(cut: Tensor, context: Tensor) -> Batch:
    """Windows ``(W, L + 1)`` as bytes and the ones after them, with how many are not scored."""
    return {"x": cut[:, :-1], "y": cut[:, 1:], "context": context}
