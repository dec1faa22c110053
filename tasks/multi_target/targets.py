"""Targets of a sample: their kinds, losses and scores."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, OptionError
from routers.plugins import unknown

from .._task import class_columns

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True)
class Target:
    """One thing to predict of every sample.

    Attributes:
        name: of the target.
        kind: ``binary``, ``classes`` or ``number``.
        classes: names of the classes, in the order of their labels 0, 1, 2, …; empty for numbers.
        mean: of a number in training.
        scale: mean absolute deviation of a number from ``mean`` in training.
        complete: every sample has its label.
    """

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    complete: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown(f"target {self.name}: kind", self.kind, KINDS)
        if self.kind == "classes" and len(self.classes) < 2:
            raise OptionError(
                f"target {self.name}: classes", list(self.classes), "two or more different classes"
            )


class TargetKind(ABC):
    """Loss and metrics of a kind of target."""

    #: What the loss counts for in a log-likelihood with unit variance.
    log_likelihood: ClassVar[float] = 1.0

    def outputs(self, target: Target) -> int:
        """Width ``O`` of the network's output for such a target."""
        return 1

    @abstractmethod
    def losses(self, target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs ``(B, O)`` and labels ``(B,)`` to ``(B,)``."""

    @abstractmethod
    def read(self, target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs ``(B, O)`` and labels ``(B,)``, NaN if there is none, as metrics take them."""

    @abstractmethod
    def predictions(self, target: Target, outputs: Tensor) -> dict[str, list[Any]]:
        """Columns of predictions from outputs ``(B, O)``."""

    @abstractmethod
    def class_logits(self, target: Target, outputs: Tensor) -> Tensor:
        """Logits of classes ``(B, C)`` from outputs ``(B, O)``; ``ConfigError`` without classes."""

    @abstractmethod
    def metrics(self, target: Target) -> dict[str, "Metric"]:
        """Metrics by name; the first is the main one."""

    def merit(self, target: Target, value: float) -> float:
        """The main metric's value as a number of which 1 is the best."""
        return value


def kind_of(target: Target) -> TargetKind:
    """Loss and metrics of a target."""
    return KINDS[target.kind]


def losses_of(targets: Sequence[Target], outputs: Sequence[Tensor], y: Tensor) -> Tensor:
    """Mean loss of every target over the samples that have its label, ``(T,)``; 0 if none has.

    ``outputs`` are ``(B, O)`` for each target, labels ``y`` ``(B, T)``, NaN if there is none.

    >>> one, other = Target("a", "binary"), Target("b", "number")
    >>> outputs = [torch.zeros(2, 1), torch.tensor([[1.0], [5.0]])]
    >>> losses_of([one, other], outputs, torch.tensor([[1.0, 3.0], [0.0, torch.nan]])).tolist()
    [0.6931, 4.0]
    """
    means = []
    for target, of_target, labels in zip(targets, outputs, y.unbind(1), strict=True):
        missing = labels.isnan()
        losses = kind_of(target).losses(target, of_target, labels.nan_to_num())
        means.append(losses.masked_fill(missing, 0.0).sum() / (~missing).sum().clamp_min(1))
    return torch.stack(means)


#: The label of a class that is not known, for metrics that leave it out.
UNKNOWN = -1


def _classes(labels: Tensor) -> Tensor:
    return labels.nan_to_num(UNKNOWN).long()


class _Binary(TargetKind):
    def losses(self, target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
        logits = outputs.squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")

    def read(self, target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return outputs.squeeze(1).double().sigmoid(), _classes(labels)

    def predictions(self, target: Target, outputs: Tensor) -> dict[str, list[Any]]:
        positive = outputs.sigmoid()
        both = torch.cat([1 - positive, positive], 1)
        return class_columns(target.name, target.classes or ("0", "1"), both)

    def class_logits(self, target: Target, outputs: Tensor) -> Tensor:
        return F.pad(outputs, (1, 0))

    def metrics(self, target: Target) -> dict[str, "Metric"]:
        from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

        auc, accuracy = BinaryAUROC(ignore_index=UNKNOWN), BinaryAccuracy(ignore_index=UNKNOWN)
        return {"auc": auc, "accuracy": accuracy}


class _Classes(TargetKind):
    def outputs(self, target: Target) -> int:
        return len(target.classes)

    def losses(self, target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels.long(), reduction="none")

    def read(self, target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return outputs.argmax(1), _classes(labels)

    def predictions(self, target: Target, outputs: Tensor) -> dict[str, list[Any]]:
        return class_columns(target.name, target.classes, outputs.softmax(1))

    def class_logits(self, target: Target, outputs: Tensor) -> Tensor:
        return outputs

    def metrics(self, target: Target) -> dict[str, "Metric"]:
        from torchmetrics.classification import MulticlassAccuracy

        from ..metrics.recall_by_class import RecallByClass

        number = len(target.classes)
        accuracy = MulticlassAccuracy(number, average="micro", ignore_index=UNKNOWN)
        return {"accuracy": accuracy, "recall": RecallByClass(target.classes)}


class _Number(TargetKind):
    log_likelihood = 0.5

    def losses(self, target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs.squeeze(1) - (labels - target.mean) / target.scale).square()

    def read(self, target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        known = ~labels.isnan()
        predicted = outputs.squeeze(1).double() * target.scale + target.mean
        return predicted[known], labels[known].double()

    def predictions(self, target: Target, outputs: Tensor) -> dict[str, list[Any]]:
        return {target.name: (outputs.squeeze(1) * target.scale + target.mean).tolist()}

    def class_logits(self, target: Target, outputs: Tensor) -> Tensor:
        raise ConfigError(
            f"target {target.name}: is a number, so a teacher has no classes to compare; remove "
            "distil, or this target"
        )

    def metrics(self, target: Target) -> dict[str, "Metric"]:
        from torchmetrics import MeanAbsoluteError

        return {"error": MeanAbsoluteError()}

    def merit(self, target: Target, value: float) -> float:
        """1 without error, 0 if always saying the mean would do as well."""
        return 1 - value / target.scale


#: What a target can be.
KINDS: Mapping[str, TargetKind] = {"binary": _Binary(), "classes": _Classes(), "number": _Number()}
