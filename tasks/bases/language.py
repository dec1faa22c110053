"""Language models over bytes or tokens: everything but where the text comes from."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, OptionError

from .._task import (
    Backbone,
    Baseline,
    Batch,
    Data,
    Labeling,
    Layer,
    MetricSpec,
    Samples,
    Score,
    Task,
    check_counts,
    choose_backbone,
)
from ..backbones import BACKBONES
from ..baselines.bytes import byte_ngram
from ..pictures import Picture, TextPicture
from ..readers import Splits
from ..text.bytes import CLASSES, UNSCORED, covering, windows
from ..text.ngrams import ngram_hashes
from ..text.vocabulary import read_vocabulary


class Language(Task):
    """Every byte of a text is predicted from the ones before it, scored in bits per byte.

    With a tokenizer these are tokens, and the score is still in bits per byte of the text.
    Each task documents the windows and the options.
    """

    score = Score("bits_per_byte", "minimize")
    causal = True
    has_ids = True

    def __init__(
        self,
        *,
        model: str | Mapping[str, Any] = "decoder",
        length: int = 256,
        context: int = 128,
        ids: int = 1,
        tokenizer: str | None = None,
    ) -> None:
        if length < 2:
            raise OptionError("length", length, "an integer >= 2")
        if not 0 <= context < length:
            raise OptionError("context", context, f"an integer in [0, length={length})")
        check_counts(ids=ids)
        self.vocabulary = read_vocabulary(tokenizer)
        tokens = tokenizer is not None
        self.model, self.options = choose_backbone(type(self), "windows", model, tokens)
        self.length = length
        self.context = context
        self.ids = ids

    @abstractmethod
    def corpus(self) -> Splits[Tensor]:
        """The text, ``(bytes,)`` uint8 per split."""

    def data(self) -> Data:
        return self.data_of(self.corpus())

    def data_of(self, corpus: Splits[Tensor]) -> Data:
        """Text as windows; ``ConfigError`` if a split is too short for one."""
        splits = {"train": corpus.train, "val": corpus.val, "test": corpus.test}
        for name, text in splits.items():
            least, units = self.length + 1 if name == "train" else 2, self.vocabulary.running(text)
            if len(units[0]) < least:
                raise ConfigError(
                    f"{corpus.name}: its {name} split has {len(units[0])} "
                    f"{self.vocabulary.unit}s, and "
                    f"task.length={self.length} needs {least}; give more text or a lower "
                    "task.length"
                )
        return Data(
            corpus.name,
            self.vocabulary.sha256(corpus.sha256),
            self._train_windows(corpus.train),
            self._windows(corpus.val),
            self._windows(corpus.test),
            corpus.split_sha256,
            corpus.made,
        )

    def backbone(self, layer: Layer) -> Backbone:
        train = self._train_windows(self.corpus().train)
        number = self.vocabulary.size
        samples = Samples("windows", (self.length,), number, train, number)
        return BACKBONES.build(self.model, layer, samples, **self.options)

    def baseline(self, data: Data) -> Baseline:
        return byte_ngram(self.corpus())

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), batch["y"].flatten(), ignore_index=UNSCORED)

    def distillation_loss(
        self, output: Tensor, teacher: Tensor, batch: Batch, temperature: float
    ) -> Tensor:
        """The mean over the bytes that are scored."""
        scored = batch["y"] != UNSCORED
        return super().distillation_loss(output[scored], teacher[scored], batch, temperature)

    def measures(self) -> dict[str, MetricSpec]:
        from ..metrics.bits_per_byte import BitsPerByte

        return {self.score.name: MetricSpec(BitsPerByte(), _scored)}

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, list[Any]]:
        """Of each window how many bytes it scores, and their mean of ``-log2 p``."""
        y = batch["y"]
        loss = F.cross_entropy(
            output.double().transpose(1, 2), y, ignore_index=UNSCORED, reduction="none"
        )
        scored = ((y != UNSCORED) * batch.get("width", torch.ones_like(y))).sum(1)
        return {
            "bytes": scored.tolist(),
            self.score.name: (loss.sum(1) / scored / math.log(2)).tolist(),
        }

    def kinds(self) -> tuple[Labeling, ...]:
        return (Labeling(self.vocabulary.unit, CLASSES, self._classes),)

    def content(self, batch: Batch) -> Mapping[str, Tensor]:
        """The value of each byte, or the number of each token, that the network reads."""
        return {self.vocabulary.column: batch["x"]}

    def pictures(self, batch: Batch) -> Sequence[Picture]:
        """Bytes in their colours; of tokens there are none."""
        rows = batch["x"].tolist() if self.vocabulary.unit == "byte" else []
        return [TextPicture(bytes(row)) for row in rows]

    def collate(self, batch: Batch) -> Batch:
        """Targets as ``(B, L)`` int64, ``UNSCORED`` where another window scores them."""
        y = batch["y"].long()
        place = torch.arange(y.shape[1], device=y.device)
        return {**batch, "y": y.masked_fill(place < batch["context"].unsqueeze(1), UNSCORED)}

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": ngram_hashes(batch["x"], self.ids)}

    def features(self, batch: Batch) -> Tensor:
        return self.vocabulary.features(batch["x"], self.ids)

    def _classes(self, batch: Batch) -> Tensor:
        return self.vocabulary.classes(batch["x"])

    def _train_windows(self, text: Tensor) -> Batch:
        """Overlapping views of the text, every byte scored in each."""
        units, widths = self.vocabulary.running(text)
        cut, sizes = (
            None if each is None else windows(each, self.length + 1, self.length - self.context)
            for each in (units, widths)
        )
        assert cut is not None
        return _pairs(cut, torch.zeros(1, dtype=torch.int64).expand(len(cut)), sizes)

    def _windows(self, text: Tensor) -> Batch:
        """Windows in which every byte but the first is scored once."""
        units, widths = self.vocabulary.running(text)
        size, stride = self.length + 1, self.length - self.context
        cut, seen = covering(units, size, stride)
        sizes = None if widths is None else covering(widths, size, stride)[0]
        return _pairs(cut, (seen - 1).clamp_min(0), sizes)


def _scored(output: Tensor, batch: Batch) -> tuple[Tensor, ...]:
    """Logits and targets, and of tokens how many bytes each target has."""
    return (output, batch["y"], *((batch["width"],) if "width" in batch else ()))


def _pairs(cut: Tensor, context: Tensor, widths: Tensor | None) -> Batch:
    """Windows ``(W, L + 1)`` as bytes and the ones after them, with how many are not scored.

    Of tokens also the bytes of those that are predicted.
    """
    pairs = {"x": cut[:, :-1], "y": cut[:, 1:], "context": context}
    return pairs if widths is None else {**pairs, "width": widths[:, 1:]}
