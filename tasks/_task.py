"""The contract of a task: what is learnt, from what, and how well."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from experts import MoE
from routers import Registry, Routing

#: Named tensors with the same first axis: ``x``, ``y`` and whatever else a task reads.
Batch = Mapping[str, Tensor]

#: ``sample_shape -> MoE``: builds the routed layer a backbone asks for.
Layer = Callable[[tuple[int, ...]], MoE]


@dataclass(frozen=True)
class Data:
    """A data set, split once.

    Attributes:
        name: what it is called.
        sha256: of its content, so that a result names what it was measured on.
        train, val, test: the splits.
    """

    name: str
    sha256: str
    train: Batch
    val: Batch
    test: Batch


@dataclass(frozen=True)
class Score:
    """What a task is judged by: a name and ``maximize`` or ``minimize``."""

    name: str
    direction: str


class Backbone(nn.Module, ABC):
    """A network with routed layers; it hands their routings up and keeps none."""

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Output and one routing per routed layer, first layer first."""


class Task(ABC):
    """What is learnt. The constructor's keyword arguments are the schema of ``task:``.

    Class attributes:
        score: what the task is judged by.
        causal: an output may not depend on later inputs, so routers must be causal.
        has_ids: batches can be described by content ids, which hash routing needs.
    """

    score: ClassVar[Score]
    causal: ClassVar[bool] = False
    has_ids: ClassVar[bool] = False

    @abstractmethod
    def data(self) -> Data:
        """The data, the same for every seed."""

    @abstractmethod
    def backbone(self, layer: Layer) -> Backbone:
        """A network whose routed layers come from ``layer``."""

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the batch, a scalar."""

    @abstractmethod
    def metric(self) -> Metric:
        """Computes the score from ``update(output, batch["y"])``."""

    def augment(self, batch: Batch) -> Batch:
        """A fresh random variant of a training batch."""
        return batch

    def describe(self, batch: Batch) -> Batch:
        """The batch with ``ids`` added, ``(B,)`` or ``(B, L)`` as its layers route."""
        return batch

    def features(self, batch: Batch) -> Tensor:
        """A plain description of what each id names, ``(*ids.shape, F)``."""
        return batch["x"]


tasks = Registry("task", Task, group="switchyard.tasks", positional=0)
