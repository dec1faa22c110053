"""The LightningModule: any backbone with routed layers, any task."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric

import routers
from experts import MoE
from routers import Balance, BalanceMetric, Routing, average_balance, load_cv, max_violation

from .._task import Backbone, Batch, Labeling, MetricSpec, Task
from ..assembly.build import routed_layers
from ..config.schema import OptimizerConfig
from ..metrics.specialization import (
    GATE,
    ExpertTable,
    mass_by_task,
    normalized_mutual_information,
    rows_by_kind,
)
from .collectives import average_over_ranks, sum_over_ranks
from .divergence import DivergedError, first_bad_place
from .optimizers import build_optimizer, learning_rate_factor
from .step_sums import StepSums

#: A balance term and its weight.
WeightedTerm = tuple[Callable[[Routing], Tensor], float]


class RoutedModule(pl.LightningModule):
    """Trains a backbone on a task with weighted balance losses.

    The loss is the task's plus, for every routed layer and every named balance term, weight
    times term. Routers adapt once per optimizer step, to the load of the whole step.

    Args:
        task: what is learnt.
        backbone: the network; it hands up one routing per routed layer.
        losses: balance terms by name with their weights.
        optimizer: its settings.
        total_steps: optimizer steps of the whole training, for the schedule.
        devices: how many divide a batch among them. A balance term of the batch is then of all
            of it, as are loads, statistics and measurements.
    """

    window_load: Tensor
    window_loss: Tensor
    step_load: Tensor
    step_tally: Tensor

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        losses: Mapping[str, float],
        optimizer: OptimizerConfig,
        total_steps: int,
        devices: int = 1,
    ) -> None:
        super().__init__()
        self.task = task
        self.backbone = backbone
        self.losses = {name: (routers.LOSSES[name], weight) for name, weight in losses.items()}
        self.divided = divided(losses) if devices > 1 else {}
        self.optimizer_config = optimizer
        self.total_steps = total_steps
        layers = routed_layers(backbone)
        self.routers = [layer.router for layer in layers]
        self.needs_ids = any(router.traits.needs_ids for router in self.routers)
        loss = MetricSpec(MeanMetric(), partial(_loss_and_rows, task))
        self.measures = {"loss": loss, **task.measures()}
        self.kinds = task.kinds()
        self.balance = [BalanceMetric(router.num_experts) for router in self.routers]
        self.who = [_tables(layer, self.kinds) for layer in layers]
        measured = [measure.metric for measure in self.measures.values()]
        tables = [table for tables in self.who for table in tables.values()]
        self.measured: list[Metric] = [*measured, *self.balance, *tables]
        # so that they move with the module; under a name of their own they would be cast as well
        self.metrics = Float32State(self.measured)
        self.evaluation: dict[str, float] = {}
        self.by_label: dict[str, float] = {}
        self.layers: list[Balance] = []
        self.specialization: list[dict[str, Tensor]] = []
        # sums since the last log line and since the last step; saved, so that a resumed run
        # logs and adapts as if it had never stopped
        shape = (len(self.routers), max((r.num_experts for r in self.routers), default=1))
        read = any(routers.reads_step(term) for term, _ in self.losses.values())
        self.step_sums = [StepSums(self.routers)] if read else []
        self.batch_sums = [StepSums(self.routers)] if self.divided else []
        self.steps = Float32State([*self.step_sums, *self.batch_sums])
        self.register_buffer("window_load", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("window_loss", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("step_load", torch.zeros(shape, dtype=torch.int64))
        counts = sum(router.num_counts for router in self.routers)
        zeros = torch.zeros(counts, dtype=torch.int64)
        self.register_buffer("step_tally", zeros, persistent=counts > 0)

    # ---- training ----

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        batch = self.described(self.task.augment(batch))
        output, routings = self.backbone(batch)
        task_loss = self.task.loss(output, batch)
        loss = task_loss + self.balance_in_training(routings)
        if not torch.isfinite(loss.detach()):
            place = first_bad_place(self.backbone, batch)
            raise DivergedError(
                f"the loss is {loss.item()} at step {self.global_step}: "
                f"the first value that is not finite is in {place}"
            )
        with torch.no_grad():
            seen = torch.stack([task_loss.double(), task_loss.new_ones(()).double()])
            self.window_loss += sum_over_ranks(seen)
            for layer, routing in enumerate(routings):
                self.step_load[layer, : routing.num_experts] += routing.requested_load
            tallies = [r.extras["counts"] for r in routings if "counts" in r.extras]
            if tallies:
                self.step_tally += torch.cat(tallies)
        return loss

    def balance_loss(self, routings: list[Routing]) -> Tensor | float:
        """Every weighted balance term, summed over layers."""
        return _weighted(self.losses, routings)

    def balance_in_training(self, routings: list[Routing]) -> Tensor | float:
        """The same of routings that may be a part of a batch, which is a part of a step."""
        if not self.divided:
            return self.balance_loss(self.within_step(routings))
        others = {name: term for name, term in self.losses.items() if name not in self.divided}
        (sums,) = self.batch_sums
        of_batch = _with_sums(routings, sum_over_ranks(sums(routings)))
        sums.reset()
        return _weighted(others, self.within_step(routings)) + _weighted(self.divided, of_batch)

    def within_step(self, routings: list[Routing]) -> list[Routing]:
        """The routings, which know of their step so far where a balance term reads that."""
        for sums in self.step_sums:
            routings = _with_sums(routings, sum_over_ranks(sums(routings)))
        return routings

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        load, tally = sum_over_ranks(self.step_load), sum_over_ranks(self.step_tally)
        tallies = torch.split(tally, [router.num_counts for router in self.routers])
        for router, of_layer, counts in zip(self.routers, load, tallies, strict=True):
            router.adapt(of_layer[: router.num_experts])
            if router.num_counts:
                router.adapt_from_counts(counts)
        self.window_load += load
        self.step_load.zero_()
        self.step_tally.zero_()
        for sums in self.step_sums:
            sums.reset()
        # what follows from a batch, such as a running mean, each rank has of its share
        average_over_ranks(self.backbone.buffers())

    def pop_training_stats(self) -> dict[str, float]:
        """Training statistics since this was last called."""
        total, steps = self.window_loss.tolist()
        values = {"train/loss": total / max(steps, 1)}
        for layer, router in enumerate(self.routers):
            load = self.window_load[layer, : router.num_experts]
            values[f"train/load_cv/layer{layer}"] = load_cv(load)
            values[f"train/max_violation/layer{layer}"] = max_violation(load)
        self.window_loss.zero_()
        self.window_load.zero_()
        return values

    def configure_optimizers(self) -> Any:
        optimizer: Optimizer = build_optimizer(self.optimizer_config, self.parameters())
        factor = partial(learning_rate_factor, self.optimizer_config, self.total_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---- evaluation ----

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        batch = self.described(batch)
        output, routings = self.backbone(batch)
        for measure in self.measures.values():
            measure.metric.update(*measure.reads(output, batch))
        for metric, routing in zip(self.balance, routings, strict=True):
            metric.update(routing)
        kinds = {kinds.name: (kinds.of(batch), len(kinds.names)) for kinds in self.kinds}
        for tables, routing in zip(self.who, routings, strict=True):
            for name, kind in kinds.items():
                tables[name].update(rows_by_kind(routing, *kind))
            if GATE in tables:
                tables[GATE].update(mass_by_task(routing))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.layers = [metric.compute() for metric in self.balance]
        self.specialization = [
            {name: table.compute().clone() for name, table in tables.items()} for tables in self.who
        ]
        self.evaluation, self.by_label = {}, {}
        for name, measure in self.measures.items():
            value = measure.metric.compute()
            if isinstance(value, dict):
                self.by_label |= {f"{name}/{label}": float(v) for label, v in value.items()}
            else:
                self.evaluation[name] = float(value)
        self.evaluation[self.task.score.name] = self.task.overall(self.evaluation)
        for metric in self.measured:
            metric.reset()

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def evaluation_log(self, prefix: str) -> dict[str, float]:
        """The last evaluation as flat names and numbers."""
        values = {f"{prefix}/{name}": value for name, value in self.evaluation.items()}
        for layer, balance in enumerate(self.layers):
            for name, value in asdict(balance).items():
                if isinstance(value, int | float):
                    values[f"{prefix}/{name}/layer{layer}"] = value
        return values

    def averaged_balance(self) -> dict[str, float | None]:
        """The last evaluation's balance, averaged over layers."""
        return average_balance(self.layers)

    def layer_results(self) -> list[dict[str, Any]]:
        """The last evaluation of each layer: its balance, and how kinds go with experts."""
        return [
            {
                **asdict(balance),
                "nmi": {name: normalized_mutual_information(t) for name, t in tables.items()},
            }
            for balance, tables in zip(self.layers, self.specialization, strict=True)
        ]

    def described(self, batch: Batch) -> Batch:
        """The batch as the network takes it, with content ids where a router reads them."""
        batch = self.task.collate(batch)
        return self.task.describe(batch) if self.needs_ids else batch


def divided(losses: Mapping[str, float]) -> dict[str, WeightedTerm]:
    """Terms of a batch that is divided among devices, with their weights.

    A term of ``Routing.step_statistics`` is the same term of whatever was summed, so of a whole
    batch if that is the sum over its parts. Terms that are means over items or groups need no sum.

    >>> sorted(divided({"switch": 0.1, "switch_sequence": 0.1, "switch_global": 0.1, "z": 0.1}))
    ['switch']
    """
    twins = {name: f"{name}_global" for name in losses}
    known = routers.LOSSES.available()
    return {
        name: (routers.LOSSES[twin], losses[name]) for name, twin in twins.items() if twin in known
    }


def _weighted(losses: Mapping[str, WeightedTerm], routings: list[Routing]) -> Tensor | float:
    return sum(
        weight * term(routing) for routing in routings for term, weight in losses.values() if weight
    )


def _with_sums(routings: list[Routing], sums: Tensor) -> list[Routing]:
    """The routings, each with the sums of its layer."""
    return [
        replace(routing, step_statistics=total[:, : routing.num_experts])
        for routing, total in zip(routings, sums, strict=True)
    ]


def _loss_and_rows(task: Task, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of a batch and what it counts for."""
    y = batch["y"]
    return task.loss(output, batch), torch.tensor(len(y), device=y.device)


class Float32State(nn.ModuleList):
    """Modules that go from device to device but keep their types.

    A metric's sums in bfloat16 stand still after a few hundred batches.

    >>> Float32State([MeanMetric()]).to(torch.bfloat16)[0].mean_value.dtype
    torch.float32
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float32State":
        device = fn(torch.zeros(0, dtype=torch.int64)).device  # integers are moved, never cast
        return super()._apply(lambda values: values.to(device), recurse)  # type: ignore[no-untyped-call]


def _tables(layer: MoE, kinds: tuple[Labeling, ...]) -> dict[str, ExpertTable]:
    """What tells who does what in a layer: a table for all kinds, and one for several gates."""
    columns = {each.name: len(each.names) for each in kinds}
    if layer.num_gates > 1:
        columns[GATE] = layer.num_gates
    experts = layer.router.num_experts
    return {name: ExpertTable(experts, number) for name, number in columns.items()}
