"""Targets of a sample: their kinds, losses and scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError
from routers.plugins import unknown

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


@dataclass(frozen=True)
class TargetKind:
    """Loss and metrics of a kind of target.

    Attributes:
        outputs: width ``O`` of the network's output for such a target.
        losses: outputs ``(B, O)`` and labels ``(B,)`` to ``(B,)``.
        read: outputs ``(B, O)`` and labels ``(B,)``, NaN where there is none, to predictions
            and labels as its metrics take them.
        metrics: by name; the first is the main one.
        merit: the main metric's value as a number of which 1 is the best.
        log_likelihood: what the loss counts for in a log-likelihood with unit variance.
    """

    outputs: Callable[[Target], int]
    losses: Callable[[Target, Tensor, Tensor], Tensor]
    read: Callable[[Target, Tensor, Tensor], tuple[Tensor, Tensor]]
    metrics: Callable[[Target], dict[str, "Metric"]]
    merit: Callable[[Target, float], float]
    log_likelihood: float


def kind_of(target: Target) -> TargetKind:
    """Loss and metrics of a target."""
    return KINDS[target.kind]


def losses_of(targets: Sequence[Target], outputs: Sequence[Tensor], y: Tensor) -> Tensor:
    """Mean loss of every target over the samples that have its label, ``(T,)``; 0 if none has.

    Args:
        targets: ``T`` of them.
        outputs: of each target, ``(B, O)``.
        y: labels ``(B, T)``, NaN where there is none.

    >>> one, other = Target("a", "binary"), Target("b", "number")
    >>> outputs = [torch.zeros(2, 1), torch.tensor([[1.0], [5.0]])]
    >>> losses_of([one, other], outputs, torch.tensor([[1.0, 3.0], [0.0, torch.nan]])).tolist()
    [0.6931, 4.0]
    """
    of_each = zip(targets, outputs, y.unbind(1), strict=True)
    return torch.stack([_mean_loss(*of_target) for of_target in of_each])


def _mean_loss(target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
    known = ~labels.isnan()
    losses = kind_of(target).losses(target, outputs, labels.nan_to_num())
    return losses.masked_fill(~known, 0.0).sum() / known.sum().clamp_min(1)


#: The label of a class that is not known, for metrics that leave it out.
UNKNOWN = -1


def _classes(labels: Tensor) -> Tensor:
    return labels.nan_to_num(UNKNOWN).long()


# ---- two classes ----


def _binary_losses(target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
    logits = outputs.squeeze(1)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")


def _probability(target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return outputs.squeeze(1).double().sigmoid(), _classes(labels)


def _binary_metrics(target: Target) -> dict[str, "Metric"]:
    from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

    return {
        "auc": BinaryAUROC(ignore_index=UNKNOWN),
        "accuracy": BinaryAccuracy(ignore_index=UNKNOWN),
    }


# ---- more classes ----


def _class_losses(target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels.long(), reduction="none")


def _most_likely(target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return outputs.argmax(1), _classes(labels)


def _class_metrics(target: Target) -> dict[str, "Metric"]:
    from torchmetrics.classification import MulticlassAccuracy

    from ..metrics.recall_by_class import RecallByClass

    return {
        "accuracy": MulticlassAccuracy(len(target.classes), average="micro", ignore_index=UNKNOWN),
        "recall": RecallByClass(target.classes),
    }


# ---- numbers ----


def _squared_errors(target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.squeeze(1) - (labels - target.mean) / target.scale).square()


def _number(target: Target, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    known = ~labels.isnan()
    predicted = outputs.squeeze(1).double() * target.scale + target.mean
    return predicted[known], labels[known].double()


def _number_metrics(target: Target) -> dict[str, "Metric"]:
    from torchmetrics import MeanAbsoluteError

    return {"error": MeanAbsoluteError()}


def _skill(target: Target, error: float) -> float:
    """1 without error, 0 where always saying the mean would do as well."""
    return 1 - error / target.scale


def _one(target: Target) -> int:
    return 1


def _itself(target: Target, value: float) -> float:
    return value


#: What a target can be.
KINDS: Mapping[str, TargetKind] = {
    "binary": TargetKind(
        outputs=_one,
        losses=_binary_losses,
        read=_probability,
        metrics=_binary_metrics,
        merit=_itself,
        log_likelihood=1.0,
    ),
    "classes": TargetKind(
        outputs=lambda target: len(target.classes),
        losses=_class_losses,
        read=_most_likely,
        metrics=_class_metrics,
        merit=_itself,
        log_likelihood=1.0,
    ),
    "number": TargetKind(
        outputs=_one,
        losses=_squared_errors,
        read=_number,
        metrics=_number_metrics,
        merit=_skill,
        log_likelihood=0.5,
    ),
}
