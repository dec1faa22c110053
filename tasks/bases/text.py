"""Classes of texts, from their bytes: everything but where the texts come from."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from operator import itemgetter
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError
from routers.plugins import unknown

from .._task import (
    Backbone,
    Batch,
    Data,
    Labeling,
    Layer,
    MetricSpec,
    Samples,
    Score,
    Task,
    backbone_class,
    choose_backbone,
)
from ..backbones import BACKBONES
from ..readers import Splits, Texts
from ..text.byte_classes import features_of
from ..text.bytes import pad, real
from ..text.ngram_embedding import ngram_hashes

if TYPE_CHECKING:
    from torchmetrics import Metric


class Text(Task):
    """Predicts the class of a text.

    A sample is the bytes of a text, cut at ``max_length``; a batch is as long as its longest.
    Of texts in groups, such as languages, every measure is taken in each group by itself, and
    a score of ``macro_f1`` is the mean over the groups; routers may know the group as the task.

    Args:
        model: backbone for texts, a name or ``{name: encoder, depth: 2}``: ``encoder`` routes
            bytes, ``bag`` and ``wide_bag`` of character n-grams route whole texts.
        ids: number of bytes that an id, the input of hash routing, stands for: the last ones at
            an item where bytes are routed, else the first ones of the text.
        max_length: bytes of a text that are read, from its start.
        label_smoothing: of the cross-entropy.
        score: ``accuracy`` or ``macro_f1``.

    Raises:
        ConfigError: naming the option that is invalid.
    """

    has_ids = True
    #: What the groups are, in the singular.
    group_name = "group"

    def __init__(
        self,
        *,
        model: str | Mapping[str, Any],
        ids: int,
        max_length: int,
        label_smoothing: float,
        score: str,
    ) -> None:
        if score not in _SCORES:
            raise unknown("score", score, _SCORES)
        for name, number in {"ids": ids, "max_length": max_length}.items():
            if number < 1:
                raise OptionError(name, number, "an integer >= 1")
        if not 0 <= label_smoothing < 1:
            raise OptionError("label_smoothing", label_smoothing, "a number in [0, 1)")
        self.score = Score(score, "maximize")
        self.model, self.options = choose_backbone(type(self), "texts", model)
        self.routes_bytes = backbone_class(self.model).routes_tokens
        self.ids = ids
        self.max_length = max_length
        self.label_smoothing = label_smoothing

    @abstractmethod
    def read(self) -> Splits[Texts]:
        """The texts."""

    @cached_property
    def texts(self) -> Splits[Texts]:
        """The texts, read once."""
        return self.read()

    @property
    def samples(self) -> Samples:
        """Length of the longest text, up to ``max_length`` bytes, classes and training split."""
        found = self.texts
        longest = max(len(t) for part in (found.train, found.val, found.test) for t in part.texts)
        length = min(longest, self.max_length)
        return Samples("texts", (length,), len(found.train.classes), self._tensors(found.train))

    def data(self) -> Data:
        found = self.texts
        splits = [self._tensors(part) for part in (found.train, found.val, found.test)]
        return Data(found.name, found.sha256, splits[0], splits[1], splits[2], found.split_sha256)

    def _tensors(self, part: Texts) -> Batch:
        x, lengths = pad(part.texts, min(max(map(len, part.texts)), self.max_length))
        batch = {"x": x, "length": lengths, "y": part.y}
        return batch if part.group is None else {**batch, "task": part.group}

    def backbone(self, layer: Layer) -> Backbone:
        return BACKBONES.build(self.model, layer, self.samples, **self.options)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"], label_smoothing=self.label_smoothing)

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        train = self.texts.train
        number = len(train.classes)
        metrics: dict[str, Callable[[], Metric]] = {
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
        ids_of = ngram_hashes if self.routes_bytes else _first_bytes
        return {**batch, "ids": ids_of(batch["x"], self.ids)}

    def features(self, batch: Batch) -> Tensor:
        return features_of(batch["x"], self.ids) if self.routes_bytes else _histogram(batch)


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


def _histogram(batch: Batch) -> Tensor:
    """The share of each byte in the texts, ``(B, 256)``."""
    counts = torch.zeros(len(batch["x"]), 256, device=batch["x"].device)
    counts.scatter_add_(1, batch["x"].long(), batch["mask"].to(counts.dtype))
    return counts / batch["length"].unsqueeze(1)
