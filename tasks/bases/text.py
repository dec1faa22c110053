"""Classes of texts, from their bytes: everything but where the texts come from."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from operator import itemgetter
from statistics import fmean
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional as F

from routers.plugins import unknown

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
    backbone_class,
    check_counts,
    check_rates,
    choose_backbone,
    class_columns,
)
from ..backbones import BACKBONES
from ..baselines.ngrams import linear_on_ngrams
from ..pictures import Picture, TextPicture
from ..readers import Splits, Texts
from ..text.bytes import byte_counts, real
from ..text.ngrams import ngram_hashes
from ..text.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from torchmetrics import Metric


class Text(Task):
    """Predicts the class of a text.

    A sample is the bytes of a text, or its tokens, cut at ``max_length``; a batch is as long as its
    longest.
    Of texts in groups, such as languages, every measure is taken in each group by itself, and
    a score of ``macro_f1`` is the mean over the groups; routers may know the group as the task.
    Each task documents the options.
    """

    has_ids = True

    def __init__(
        self,
        model: str | Mapping[str, Any],
        ids: int,
        max_length: int,
        label_smoothing: float,
        score: str,
        tokenizer: str | None = None,
    ) -> None:
        if score not in _SCORES:
            raise unknown("score", score, _SCORES)
        check_counts(ids=ids, max_length=max_length)
        check_rates(label_smoothing=label_smoothing)
        self.score = Score(score, "maximize")
        self.vocabulary = read_vocabulary(tokenizer)
        tokens = tokenizer is not None
        self.model, self.options = choose_backbone(type(self), "texts", model, tokens)
        self.routes_units = backbone_class(self.model).routes_tokens
        self.ids = ids
        self.max_length = max_length
        self.label_smoothing = label_smoothing
        self._found = dict[int, tuple[Texts, Sequence[Sequence[int]]]]()

    @abstractmethod
    def read(self) -> Splits[Texts]:
        """The texts."""

    @cached_property
    def texts(self) -> Splits[Texts]:
        """The texts, read once."""
        return self.read()

    @cached_property
    def samples(self) -> Samples:
        """Length of the longest text, up to ``max_length``, classes and training split."""
        train = self.texts.train
        shape, size = (self.length,), self.vocabulary.size
        return Samples("texts", shape, len(train.classes), self._tensors(train), size)

    @cached_property
    def length(self) -> int:
        """Units of the longest text, up to ``max_length``; longer ones of other data are cut."""
        found = self.texts
        parts = (self._units(part) for part in (found.train, found.val, found.test))
        return max(len(units) for part in parts for units in part)

    def data(self) -> Data:
        return self.data_of(self.texts)

    def data_of(self, found: Splits[Texts]) -> Data:
        """Texts as tensors."""
        data = found.data(self._tensors)
        return replace(data, sha256=self.vocabulary.sha256(data.sha256))

    def _units(self, part: Texts) -> Sequence[Sequence[int]]:
        """The bytes or tokens of texts, found once."""
        if id(part) not in self._found:
            self._found[id(part)] = part, self.vocabulary.units(part.texts, self.max_length)
        return self._found[id(part)][1]

    def _tensors(self, part: Texts) -> Batch:
        units = self._units(part)
        x, lengths = self.vocabulary.pad(units, min(max(map(len, units)), self.length))
        batch = {"x": x, "length": lengths, "y": part.y}
        return batch if part.group is None else {**batch, "task": part.group}

    def backbone(self, layer: Layer) -> Backbone:
        return BACKBONES.build(self.model, layer, self.samples, **self.options)

    def baseline(self, data: Data) -> Baseline:
        return linear_on_ngrams(self, data, self.vocabulary.text)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"], label_smoothing=self.label_smoothing)

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        train = self.texts.train
        number = len(train.classes)
        skip: Any = {"ignore_index": _ELSEWHERE}
        metrics: dict[str, Callable[[], Metric]] = {
            "accuracy": partial(MulticlassAccuracy, number, average="micro", **skip),
            "macro_f1": partial(MulticlassF1Score, number, average="macro", **skip),
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

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, list[Any]]:
        return class_columns("class", self.texts.train.classes, output.double().softmax(1))

    def kinds(self) -> tuple[Labeling, ...]:
        train = self.texts.train
        classes = Labeling("class", train.classes, itemgetter("y"))
        if train.group is None:
            return (classes,)
        return (classes, Labeling(train.group_name, train.groups, itemgetter("task")))

    def content(self, batch: Batch) -> Mapping[str, Tensor]:
        """The value of each byte or number of each token, if they are routed."""
        return {self.vocabulary.column: batch["x"]} if self.routes_units else {}

    def pictures(self, batch: Batch) -> Sequence[Picture]:
        """Bytes in their colours; of tokens there are none."""
        if self.vocabulary.unit != "byte":
            return ()
        rows = zip(batch["x"].tolist(), batch["length"].tolist(), strict=True)
        return [TextPicture(bytes(row[:length])) for row, length in rows]

    def collate(self, batch: Batch) -> Batch:
        """Cut to the longest text, with a mask, and 0 at padding, whatever was there."""
        longest = int(batch["length"].max())
        mask = real(batch["length"], longest)
        x = batch["x"][:, :longest].masked_fill(~mask, 0)
        return {**batch, "x": x, "mask": mask}

    def describe(self, batch: Batch) -> Batch:
        ids_of = ngram_hashes if self.routes_units else _first_bytes
        return {**batch, "ids": ids_of(batch["x"], self.ids)}

    def features(self, batch: Batch) -> Tensor:
        """Of bytes their classes and bits; of whole texts the share of each byte, ``(B, 256)``."""
        if self.routes_units:
            return self.vocabulary.features(batch["x"], self.ids)
        return byte_counts(batch["x"], batch["mask"]) / batch["length"].unsqueeze(1)


#: A target that no measure counts.
_ELSEWHERE = -1

#: What ``task.score`` can be.
_SCORES = ("accuracy", "macro_f1")


def _of_group(place: int, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predictions, and the targets of one group alone."""
    return output, batch["y"].masked_fill(batch["task"] != place, _ELSEWHERE)


def _first_bytes(x: Tensor, order: int) -> Tensor:
    """One number for the first ``order`` bytes of each text, ``(B,)``; 0 after its end."""
    start = F.pad(x[:, :order], (0, max(order - x.shape[1], 0)))
    return ngram_hashes(start, order)[:, -1]
