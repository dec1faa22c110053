"""Classes of texts, from their bytes: everything but where the texts come from."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError, unknown

from .._task import Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task
from ..backbones.bag import Bag, inverse_document_frequency
from ..backbones.blocks import check_blocks
from ..backbones.encoder import Encoder
from ..backbones.wide_bag import WideBag
from ..readers import Splits, Texts
from ..text.byte_classes import features_of
from ..text.bytes import pad, real
from ..text.char_ngrams import character_grams
from ..text.ngram_embedding import ngram_hashes

#: Texts hashed at a time.
_CHUNK = 512


class Text(Task):
    """What class a text is of.

    A sample is the bytes of a text, cut at ``max_length``; a batch is as long as its longest.
    Of texts in groups, such as languages, every measure is taken in each group by itself, and
    a score of ``macro_f1`` is the mean over the groups; routers may know the group as the task.

    Args:
        model: ``encoder`` (routes bytes), ``bag`` of character n-grams (routes whole texts), or
            ``wide_bag``, a bag with logistic regression beside it (for ``optimizer.name=sgd``).
        dim: ``D``; of ``encoder`` a multiple of ``2 * heads``.
        depth: number of blocks.
        heads: attention heads of ``encoder``.
        ngrams: lengths of the n-grams, of ``encoder`` in bytes, of bags in characters.
        buckets: rows of the table of n-grams; of ``encoder`` for each length.
        rare: of bags, an n-gram that fewer training texts hold counts as never met: what one
            text alone has helps to learn it by heart.
        ngram_dropout: chance, in training, that an n-gram is not looked at.
        dropout: chance that a value is left out.
        routed: which blocks of ``encoder`` are routed, from 0; None for all.
        ids: how many bytes an id, which hash routing looks up, stands for: of ``encoder`` the
            last ones at an item, of bags the first of the text.
        max_length: bytes of a text that are read, from its start.
        label_smoothing: of the cross-entropy.
        score: ``accuracy`` or ``macro_f1``.

    Raises:
        ConfigError: naming the option that cannot be.
    """

    has_ids = True
    #: What the groups are, in the singular.
    group_name = "group"

    def __init__(
        self,
        *,
        model: str,
        dim: int,
        depth: int,
        heads: int,
        ngrams: Sequence[int],
        buckets: int,
        rare: int,
        ngram_dropout: float,
        dropout: float,
        routed: Sequence[int] | None,
        ids: int,
        max_length: int,
        label_smoothing: float,
        score: str,
    ) -> None:
        if model not in _MODELS:
            raise unknown("task.model", model, _MODELS)
        if score not in _SCORES:
            raise unknown("task.score", score, _SCORES)
        check_blocks(dim, depth, heads, routed)
        if dim % (2 * heads):
            raise OptionError("task.dim", dim, f"a multiple of twice task.heads={heads}")
        if not ngrams or min(ngrams) < 1 or len(set(ngrams)) < len(ngrams):
            raise OptionError("task.ngrams", list(ngrams), "different integers of at least 1")
        rates = {
            "ngram_dropout": ngram_dropout,
            "dropout": dropout,
            "label_smoothing": label_smoothing,
        }
        for key, rate in rates.items():
            if not 0 <= rate < 1:
                raise OptionError(f"task.{key}", rate, "a number from 0 to below 1")
        numbers = {"buckets": buckets, "rare": rare, "ids": ids, "max_length": max_length}
        for key, number in numbers.items():
            if number < 1:
                raise OptionError(f"task.{key}", number, "an integer of at least 1")
        self.score = Score(score, "maximize")
        self.model = _MODELS[model]
        self.dim = dim
        self.depth = depth
        self.heads = heads
        self.ngrams = tuple(ngrams)
        self.buckets = buckets
        self.rare = rare
        self.ngram_dropout = ngram_dropout
        self.dropout = dropout
        self.routed = routed
        self.ids = ids
        self.max_length = max_length
        self.label_smoothing = label_smoothing

    @abstractmethod
    def read(self) -> Splits[Texts]:
        """The texts."""

    @cached_property
    def texts(self) -> Splits[Texts]:
        """What was read, once."""
        return self.read()

    @property
    def length(self) -> int:
        """Bytes of the longest text, or ``max_length``."""
        found = self.texts
        longest = max(len(t) for part in (found.train, found.val, found.test) for t in part.texts)
        return min(longest, self.max_length)

    @cached_property
    def rarity(self) -> Tensor:
        """The inverse document frequency of each n-gram in the training texts, ``(buckets,)``."""
        texts = self.texts.train.texts
        parts = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
        grams = (found for part in parts for found in self._grams(part))
        return inverse_document_frequency(grams, self.buckets, self.rare)

    def _grams(self, texts: Sequence[bytes]) -> list[Tensor]:
        x, lengths = pad(texts, min(max(map(len, texts)), self.max_length))
        found, holds = character_grams(x, real(lengths, x.shape[1]), self.ngrams, self.buckets)
        return [row[keep] for row, keep in zip(found, holds, strict=True)]

    def data(self) -> Data:
        found = self.texts
        splits = [self._tensors(part) for part in (found.train, found.val, found.test)]
        return Data(found.name, found.sha256, splits[0], splits[1], splits[2], found.split_sha256)

    def _tensors(self, part: Texts) -> Batch:
        x, lengths = pad(part.texts, min(max(map(len, part.texts)), self.max_length))
        batch = {"x": x, "length": lengths, "y": part.y}
        return batch if part.group is None else {**batch, "task": part.group}

    def backbone(self, layer: Layer) -> Backbone:
        return self.model.build(self, layer)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"], label_smoothing=self.label_smoothing)

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        train = self.texts.train
        number = len(train.classes)
        metrics = {
            "accuracy": partial(
                MulticlassAccuracy, number, average="micro", ignore_index=_ELSEWHERE
            ),
            "macro_f1": partial(
                MulticlassF1Score, number, average="macro", ignore_index=_ELSEWHERE
            ),
        }
        if train.group is None:
            return {name: MetricSpec(make()) for name, make in metrics.items()}
        by_group = {
            f"{name}/{group}": MetricSpec(make(), partial(_of_group, index))
            for name, make in metrics.items()
            for index, group in enumerate(train.groups)
        }
        return {"accuracy": MetricSpec(metrics["accuracy"]())} | by_group

    def overall(self, values: Mapping[str, float]) -> float:
        """Of one group the measure itself; of several the mean over the groups."""
        name = self.score.name
        if self.texts.train.group is None:
            return values[name]
        return fmean(values[f"{name}/{group}"] for group in self.texts.train.groups)

    def kinds(self) -> tuple[Labeling, ...]:
        train = self.texts.train
        classes = Labeling("class", train.classes, itemgetter("y"))
        if train.group is None:
            return (classes,)
        return (classes, Labeling(self.group_name, train.groups, itemgetter("task")))

    def collate(self, batch: Batch) -> Batch:
        """Cut to the longest text, with a mask, and 0 at padding, whatever was there."""
        longest = int(batch["length"].max())
        mask = real(batch["length"], longest)
        x = batch["x"][:, :longest].masked_fill(~mask, 0)
        return {**batch, "x": x, "mask": mask}

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": self.model.ids(batch["x"], self.ids)}

    def features(self, batch: Batch) -> Tensor:
        return self.model.features(batch, self.ids)


#: A target that no measure counts.
_ELSEWHERE = -1

#: What ``task.score`` can be.
_SCORES = ("accuracy", "macro_f1")


def _of_group(place: int, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predictions, and the targets of one group alone."""
    return output, batch["y"].masked_fill(batch["task"] != place, _ELSEWHERE)


def _encoder(task: Text, layer: Layer) -> Backbone:
    return Encoder(
        layer,
        length=task.length,
        orders=task.ngrams,
        buckets=task.buckets,
        dim=task.dim,
        depth=task.depth,
        heads=task.heads,
        classes=len(task.texts.train.classes),
        ngram_dropout=task.ngram_dropout,
        dropout=task.dropout,
        routed=task.routed,
    )


def _bag(network: type[Bag | WideBag], task: Text, layer: Layer) -> Backbone:
    return network(
        layer,
        rarity=task.rarity,
        orders=task.ngrams,
        dim=task.dim,
        depth=task.depth,
        classes=len(task.texts.train.classes),
        ngram_dropout=task.ngram_dropout,
        dropout=task.dropout,
    )


def _byte_features(batch: Batch, order: int) -> Tensor:
    return features_of(batch["x"], order)


def _first_bytes(x: Tensor, order: int) -> Tensor:
    """One number for the first ``order`` bytes of each text, ``(B,)``; 0 after its end."""
    start = F.pad(x[:, :order], (0, max(order - x.shape[1], 0)))
    return ngram_hashes(start, order)[:, -1]


def _histogram(batch: Batch, order: int) -> Tensor:
    """The share of each byte in the texts, ``(B, 256)``."""
    counts = torch.zeros(len(batch["x"]), 256, device=batch["x"].device)
    counts.scatter_add_(1, batch["x"].long(), batch["mask"].to(counts.dtype))
    return counts / batch["length"].unsqueeze(1)


@dataclass(frozen=True)
class _Model:
    """A backbone, and how hash routing names and describes what it routes."""

    build: Callable[[Text, Layer], Backbone]
    ids: Callable[[Tensor, int], Tensor]
    features: Callable[[Batch, int], Tensor]


_MODELS = {
    "encoder": _Model(_encoder, ngram_hashes, _byte_features),
    "bag": _Model(partial(_bag, Bag), _first_bytes, _histogram),
    "wide_bag": _Model(partial(_bag, WideBag), _first_bytes, _histogram),
}
