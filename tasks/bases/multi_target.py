"""Tasks with several targets: network, losses and scores."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from routers import OptionError
from routers.plugins import unknown_option

from .._task import (
    GATE,
    Backbone,
    Batch,
    Labeling,
    Layer,
    MetricSpec,
    Score,
    Task,
    check_counts,
    check_depth,
    check_rates,
    complete_part,
)
from ..multi_target.network import MultiTaskNet, Outputs
from ..multi_target.sharings import SHARINGS, Parts
from ..multi_target.targets import Target, kind_of, losses_of
from ..multi_target.weightings import WEIGHTINGS


class MultiTask(Task):
    """Several targets of every sample.

    ``batch["y"]`` is ``(B, T)`` float, NaN where a sample lacks a label: that label then takes
    no part in loss or scores. A sample is routed as a whole. The score, ``overall``, is the mean
    over targets of AUC (two classes), accuracy (more classes) or, for numbers, 1 less the mean
    absolute error relative to that of always predicting the mean. Each task documents the options.

    Attributes:
        outputs: names of the targets, there from the start.
        num_views: ``V``, where the encoder has views.
    """

    score = Score("overall", "maximize")
    has_ids = True
    num_views: int = 0

    def __init__(
        self,
        dim: int,
        depth: int,
        sharing: str | Mapping[str, Any],
        tower: int,
        dropout: float,
        weighting: str | Mapping[str, Any],
        weights: Mapping[str, float],
    ) -> None:
        check_counts(dim=dim, tower=tower)
        check_depth(depth)
        check_rates(dropout=dropout)
        if GATE in self.outputs:
            raise OptionError("target", GATE, "another name: this one is reserved for gates")
        _check_weights(weights, self.outputs)
        self.dim = dim
        self.depth = depth
        self.tower = tower
        self.dropout = dropout
        self.sharing = complete_part(type(self), "sharing", SHARINGS, sharing)
        self.weighting = complete_part(type(self), "weighting", WEIGHTINGS, weighting)
        self.weights = weights

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """The targets; known once the data is read."""

    @abstractmethod
    def encoder(self) -> nn.Module:
        """From a batch to its representation: ``(B, D)``, or ``(V + 1, B, D)`` with views."""

    def backbone(self, layer: Layer) -> Backbone:
        parts = Parts(
            encoder=self.encoder,
            layer=layer,
            targets=self.targets,
            dim=self.dim,
            depth=self.depth,
            views=self.num_views,
            tower=self.tower,
            dropout=self.dropout,
        )
        name, options = self.sharing
        sharing: Any = SHARINGS[name]
        encoder = sharing.encoder(parts)
        trunk = SHARINGS.build(name, parts, **options)
        name, options = self.weighting
        weighting = WEIGHTINGS.build(name, self.targets, **options)
        return MultiTaskNet(parts, encoder, trunk, weighting)

    def loss(self, output: Outputs, batch: Batch) -> Tensor:
        losses = losses_of(self.targets, output.logits, batch["y"])
        factors = [self.weights.get(target.name, 1.0) for target in self.targets]
        return output.weighting(losses * losses.new_tensor(factors), output.shared)

    def distillation_loss(
        self, output: Outputs, teacher: Outputs, batch: Batch, temperature: float
    ) -> Tensor:
        """The mean over targets, with their factors; ``ConfigError`` if one is a number."""
        found = []
        for target, *both in zip(self.targets, output.logits, teacher.logits, strict=True):
            own, wanted = (kind_of(target).class_logits(target, each) for each in both)
            divergence = super().distillation_loss(own, wanted, batch, temperature)
            found.append(self.weights.get(target.name, 1.0) * divergence)
        return torch.stack(found).mean()

    def measures(self) -> dict[str, MetricSpec]:
        return {
            f"{name}/{target.name}": MetricSpec(metric, partial(_of_target, target, index))
            for index, target in enumerate(self.targets)
            for name, metric in kind_of(target).metrics(target).items()
        }

    def overall(self, values: Mapping[str, float]) -> float:
        merits = []
        for target in self.targets:
            kind = kind_of(target)
            main = next(iter(kind.metrics(target)))
            merits.append(kind.merit(target, values[f"{main}/{target.name}"]))
        return sum(merits) / len(merits)

    def predictions(self, output: Outputs, batch: Batch) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for target, logits in zip(self.targets, output.logits, strict=True):
            columns |= kind_of(target).predictions(target, logits.double())
        return columns

    def kinds(self) -> tuple[Labeling, ...]:
        return tuple(
            Labeling(
                target.name,
                target.classes if target.complete else (*target.classes, "unlabelled"),
                partial(_class_of, target, index),
            )
            for index, target in enumerate(self.targets)
            if target.classes
        )


def _check_weights(weights: Mapping[str, float], targets: Sequence[str]) -> None:
    """Refuse factors of what is no target, or that are not above 0."""
    for name, weight in weights.items():
        if name not in targets:
            raise unknown_option("weights", name, targets)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 < weight < math.inf:
            raise OptionError(f"weights.{name}", weight, "a finite number > 0")


def _of_target(target: Target, index: int, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    return kind_of(target).read(target, output.logits[index], batch["y"][:, index])


def _class_of(target: Target, index: int, batch: Batch) -> Tensor:
    return batch["y"][:, index].nan_to_num(nan=len(target.classes)).long()
