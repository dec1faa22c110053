"""Evaluation of a module on a split: scores, metrics of each routed layer, expert tables."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from experts import MoE
from routers import LayerMetrics, Routing, average_over_layers
from routers.blocks import Float32State
from routers.comparison import normalized_mutual_information
from routers.metrics import summary_names

from .._task import GATE, Batch, Labeling, MetricSpec, Task
from ..metrics.specialization import (
    ExpertTable,
    mass_by_task,
    rows_by_kind,
)


class Evaluation(nn.Module):
    """Accumulates metrics over the batches of a split; ``finish`` computes them over all ranks.

    The routed layers are not registered as submodules here.

    Attributes:
        scores: the last evaluation's loss and scores by name.
        scores_by_label: scores of single labels, named ``score/label``.
        layers: metrics of each routed layer by name, as ``routers.LayerMetrics`` computes them.
        tables: rows of each expert by kind, ``(E, kinds)``, by labeling, for each layer.
    """

    def __init__(self, task: Task, layers: Sequence[MoE]) -> None:
        super().__init__()
        self.task = task
        self.labelings = task.kinds()
        loss = MetricSpec(MeanMetric(), partial(_loss_and_rows, task))
        self.measures = {"loss": loss, **task.measures()}
        self._layer_metrics = [LayerMetrics(layer.router.num_experts) for layer in layers]
        self._tables = [_tables(layer, self.labelings) for layer in layers]
        self._metrics: list[Metric | MetricCollection] = [
            *(measure.metric for measure in self.measures.values()),
            *self._layer_metrics,
            *(table for tables in self._tables for table in tables.values()),
        ]
        self.metrics = UncastModules(self._metrics)  # registered, so that they move with the module
        self.scores: dict[str, float] = {}
        self.scores_by_label: dict[str, float] = {}
        self.layers: list[dict[str, Any]] = []
        self.tables: list[dict[str, Tensor]] = []

    def update(self, output: Any, batch: Batch, routings: Sequence[Routing]) -> None:
        """Add a batch: the network's output and the routing of each layer."""
        for measure in self.measures.values():
            measure.metric.update(*measure.reads(output, batch))
        for metrics, routing in zip(self._layer_metrics, routings, strict=True):
            metrics.update(routing)
        kinds = {each.name: (each.of(batch), len(each.names)) for each in self.labelings}
        for tables, routing in zip(self._tables, routings, strict=True):
            for name, kind in kinds.items():
                tables[name].update(rows_by_kind(routing, *kind))
            if GATE in tables:
                tables[GATE].update(mass_by_task(routing))

    def finish(self) -> None:
        """Compute the results of all batches added and reset the metrics."""
        self.layers = [metrics.compute() for metrics in self._layer_metrics]
        self.tables = [
            {name: table.compute().clone() for name, table in tables.items()}
            for tables in self._tables
        ]
        self.scores, self.scores_by_label = {}, {}
        for name, measure in self.measures.items():
            value = measure.metric.compute()
            if isinstance(value, Mapping):
                for label, of_label in value.items():
                    self.scores_by_label[f"{name}/{label}"] = float(of_label)
            else:
                self.scores[name] = float(value)
        self.scores[self.task.score.name] = self.task.overall(self.scores)
        for metric in self._metrics:
            metric.reset()

    def log_values(self, prefix: str) -> dict[str, float]:
        """The results as flat names and numbers."""
        values = {f"{prefix}/{name}": value for name, value in self.scores.items()}
        for layer, metrics in enumerate(self.layers):
            for name, value in metrics.items():
                if isinstance(value, int | float):
                    values[f"{prefix}/{name}/layer{layer}"] = value
        return values

    def log_names(self, prefix: str) -> list[str]:
        """The names of ``log_values`` that every evaluation has."""
        scores = [f"{prefix}/{name}" for name in {**self.measures, self.task.score.name: None}]
        layers = range(len(self._layer_metrics))
        return scores + [f"{prefix}/{n}/layer{layer}" for layer in layers for n in summary_names()]

    def load_summary(self) -> dict[str, float | None]:
        """The metrics of the layers, combined over layers."""
        return average_over_layers(self.layers)

    def layer_results(self) -> list[dict[str, Any]]:
        """For each layer its metrics, and the mutual information of experts and kinds."""
        nmi = [
            {
                name: normalized_mutual_information(table.cpu().numpy())
                for name, table in tables.items()
            }
            for tables in self.tables
        ]
        return [{**metrics, "nmi": n} for metrics, n in zip(self.layers, nmi, strict=True)]


class UncastModules(Float32State, nn.ModuleList):
    """Modules that move from device to device but keep their types.

    A metric's sums in bfloat16 stop growing after a few hundred batches.

    >>> UncastModules([MeanMetric()]).to(torch.bfloat16)[0].mean_value.dtype
    torch.float32
    """


def _tables(layer: MoE, labelings: Sequence[Labeling]) -> dict[str, ExpertTable]:
    """A table of experts and kinds for each labeling, and one of several gates."""
    columns = {each.name: len(each.names) for each in labelings}
    if layer.num_gates > 1:
        columns[GATE] = layer.num_gates
    experts = layer.router.num_experts
    return {name: ExpertTable(experts, number) for name, number in columns.items()}


def _loss_and_rows(task: Task, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of a batch and the number of its rows, its weight in the mean."""
    y = batch["y"]
    return task.loss(output, batch), torch.tensor(len(y), device=y.device)
