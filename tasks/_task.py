"""The contract of a task: what is learnt, from what, and how well."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from experts import GateTopology, MoE
from routers import Registry, Routing

if TYPE_CHECKING:
    from torchmetrics import Metric

#: Named tensors with the same first axis: ``x``, ``y`` and whatever else a task reads.
Batch = Mapping[str, Tensor]

#: Name of the table that says how several gates weigh the experts; no output of a task has it.
GATE = "gate"


class Layer(Protocol):
    """Builds the routed layer a backbone asks for."""

    def __call__(
        self, sample_shape: tuple[int, ...], wiring: Callable[[int], GateTopology] | None = None
    ) -> MoE:
        """A layer for samples of this shape, batch axis left out.

        Args:
            sample_shape: such as ``(L, D)`` for sequences of tokens.
            wiring: from the number of experts to who may choose which of them, where the
                layer has several gates or inputs; None for one of each.
        """


@dataclass(frozen=True)
class Data:
    """A data set, split once.

    Attributes:
        name: what it is called.
        sha256: of its content, so that a result names what it was measured on.
        train, val, test: the splits.
        split_sha256: of which rows went where, where the splits are not the source's own.
    """

    name: str
    sha256: str
    train: Batch
    val: Batch
    test: Batch
    split_sha256: str | None = None


@dataclass(frozen=True)
class Score:
    """What a task is judged by: a name and ``maximize`` or ``minimize``."""

    name: str
    direction: str


def output_and_y(output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """What most measures read: the output itself and ``batch["y"]``."""
    return output, batch["y"]


@dataclass(frozen=True)
class MetricSpec:
    """A metric and what it reads.

    Attributes:
        metric: of torchmetrics; a single number, or a dict of them by label.
        reads: ``(output, batch) -> (predictions, targets)``.
    """

    metric: "Metric"
    reads: Callable[[Any, Batch], tuple[Tensor, Tensor]] = output_and_y


@dataclass(frozen=True)
class Labeling:
    """What samples are told apart by, to see which expert works on what.

    Attributes:
        name: in the singular: ``class``, ``language``.
        names: of each kind.
        of: the kind of each sample, ``(B,)``, or of each routed item, in their order; int64.
    """

    name: str
    names: tuple[str, ...]
    of: Callable[[Batch], Tensor]


class Backbone(nn.Module, ABC):
    """A network with routed layers; it hands their routings up and keeps none."""

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Any, list[Routing]]:
        """Output, as the task's loss reads it, and one routing per routed layer in their order."""


class Task(ABC):
    """What is learnt. The constructor's keyword arguments are the schema of ``task:``.

    Class attributes:
        score: what the task is judged by.
        causal: an output may not depend on later inputs, so routers must be causal.
        has_ids: batches can be described by content ids, which hash routing needs.
        has_tasks: batches name each sample's task, language or domain in ``task``.
        outputs: names of what is predicted, where it is several things at once.
    """

    score: Score
    causal: ClassVar[bool] = False
    has_ids: bool = False
    has_tasks: bool = False
    outputs: tuple[str, ...] = ()

    @abstractmethod
    def data(self) -> Data:
        """The data, the same for every seed."""

    @abstractmethod
    def backbone(self, layer: Layer) -> Backbone:
        """A network whose routed layers come from ``layer``; asked for after ``data``."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Mean loss over the batch, a scalar."""

    @abstractmethod
    def measures(self) -> dict[str, MetricSpec]:
        """All that is measured in evaluation, by name."""

    def overall(self, values: Mapping[str, float]) -> float:
        """The score, from what was measured."""
        return values[self.score.name]

    def kinds(self) -> tuple[Labeling, ...]:
        """What samples are told apart by, to see which expert works on what."""
        return ()

    def augment(self, batch: Batch) -> Batch:
        """A fresh random variant of a training batch, before ``collate``."""
        return batch

    def collate(self, batch: Batch) -> Batch:
        """The batch as the network takes it: scaled, cut to its longest text; all finite."""
        return batch

    def describe(self, batch: Batch) -> Batch:
        """The batch with ``ids`` added, ``(B,)`` or ``(B, L)`` as its layers route."""
        return batch

    def features(self, batch: Batch) -> Tensor:
        """A plain description of what each id names, ``(*ids.shape, F)``."""
        return batch["x"]


TASKS = Registry("task", Task, group="switchyard.tasks", positional=0)
