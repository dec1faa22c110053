"""The LightningModule: any backbone with routed layers, any task."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

import experts
from experts import Adaptation
from routers import load_cv, max_violation
from routers.blocks import is_distributed

from .._task import Backbone, Batch, Task
from ..assembly.build import routed_layers
from ..config.schema import OptimizerConfig
from .auxiliary_loss import AuxiliaryLoss
from .collectives import sum_and_average
from .distillation import Distillation
from .divergence import DivergedError, first_bad_place
from .evaluation import Evaluation
from .frozen_weights import add_frozen, frozen_weights, leave_out
from .fully_sharded import FullySharded, is_sharded
from .optimizers import build_optimizer, learning_rate_factor
from .schedules import build_schedule


class RoutedModule(pl.LightningModule):
    """Trains a backbone on a task with weighted auxiliary losses.

    The loss is the task's, blended with the divergence from a teacher if there is one, plus, for
    every routed layer and every auxiliary loss, weight times loss. Routers adapt once per optimizer
    step, to the load of the whole step.

    Args:
        task: the task to learn.
        backbone: the network; it returns one routing per routed layer.
        losses: auxiliary losses of each routed layer, as ``AuxiliaryLoss`` takes them.
        optimizer: its settings.
        total_steps: optimizer steps of the whole training, for the schedule.
        devices: number of devices that divide a batch. Auxiliary losses, loads, statistics and
            scores are those of the whole batch.
    """

    window_load: Tensor
    step_loss: Tensor
    window_loss: Tensor
    unread_loss: Tensor

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        losses: Sequence[Mapping[str, Any]],
        optimizer: OptimizerConfig,
        total_steps: int,
        devices: int = 1,
    ) -> None:
        super().__init__()
        self.task = task
        self.backbone = backbone
        self.optimizer_config = optimizer
        self.total_steps = total_steps
        layers = routed_layers(backbone)
        self.routers = [layer.router for layer in layers]
        self.needs_ids = any(router.traits.needs_ids for router in self.routers)
        self.auxiliary_loss = AuxiliaryLoss(losses, layers, devices)
        self.adaptation = Adaptation(self.routers)
        self.evaluation = Evaluation(task, layers)
        #: Folder of the checkpoints, where frozen weights are.
        self.checkpoints = Path()
        #: The teacher of this network, if it has one.
        self.distillation: Distillation | None = None
        # sums since the last log line; saved, so that a resumed run logs as if never interrupted
        self.register_buffer("window_load", torch.zeros_like(self.adaptation.load))
        self.register_buffer("window_loss", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("step_loss", torch.zeros(2, dtype=torch.float64), persistent=False)
        self.register_buffer("unread_loss", torch.zeros(2, dtype=torch.float64), persistent=False)
        #: Load of the last optimizer step over ranks, ``(layers, E)``.
        self.last_load = torch.zeros_like(self.adaptation.load)
        #: What this process asks the others for in each step, numbers; their sums over ranks.
        self.request: Callable[[], Sequence[float]] = list
        self.requested: list[float] = []

    def configure_model(self) -> None:
        """Shard the network, if the strategy does."""
        if isinstance(self.trainer.strategy, FullySharded):
            self.trainer.strategy.shard(self.backbone)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        leave_out(checkpoint, frozen_weights(self))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        add_frozen(checkpoint, self.checkpoints)

    def on_fit_start(self) -> None:
        if self.distillation is not None:
            self.distillation.place(next(self.backbone.parameters()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        samples = self.task.augment(batch)
        batch = self.prepare_batch(samples)
        output, routings = self.backbone(batch)
        loss = task_loss = self.task.loss(output, batch)
        if self.distillation is not None:
            loss = self.distillation.blend(task_loss, self.task, output, batch, samples)
        loss = loss + self.auxiliary_loss.in_training(routings)
        if not torch.isfinite(loss.detach()):
            place = first_bad_place(self.backbone, batch, not is_sharded(self.backbone))
            raise DivergedError(
                f"the loss is {loss.item()} at step {self.global_step}: "
                f"the first value that is not finite is in {place}"
            )
        with torch.no_grad():
            self.step_loss += torch.stack([task_loss.double(), task_loss.new_ones(()).double()])
        self.adaptation.observe(routings)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.last_load = self.adaptation.finish_step(self._over_ranks)
        self.window_load += self.last_load
        self.auxiliary_loss.finish_step()

    def _over_ranks(self, counts: Tensor) -> Tensor:
        """Counts of the step over ranks; its losses, requests and means of buffers with them.

        What follows from a batch, such as a running mean, each rank has of its share.
        """
        place = self.device if is_distributed() else None  # no copy to a GPU without need
        request = torch.tensor(self.request(), dtype=torch.float64, device=place)
        sum_and_average([counts, self.step_loss, request], self.backbone.buffers())
        self.requested = request.tolist()
        self.window_loss += self.step_loss
        self.unread_loss += self.step_loss
        self.step_loss.zero_()
        return counts

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val and gradient_clip_algorithm != "value" and is_sharded(self):
            experts.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def pop_training_stats(self) -> dict[str, float]:
        """Training statistics since the last call."""
        total, steps = self.window_loss.tolist()
        values = {"train/loss": total / max(steps, 1)}
        for layer, router in enumerate(self.routers):
            load = self.window_load[layer, : router.num_experts]
            values[f"train/load_cv/layer{layer}"] = load_cv(load)
            values[f"train/max_violation/layer{layer}"] = max_violation(load)
        self.window_loss.zero_()
        self.window_load.zero_()
        return values

    def pop_train_loss(self) -> float:
        """Mean loss of the task in training since the last call; NaN if there was no step."""
        total, steps = self.unread_loss.tolist()
        self.unread_loss.zero_()
        return total / steps if steps else math.nan

    def configure_optimizers(self) -> Any:
        config = self.optimizer_config
        optimizer: Optimizer = build_optimizer(config, self)
        schedule = build_schedule(config.schedule)
        factor = partial(learning_rate_factor, schedule, config.warmup, self.total_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        batch = self.prepare_batch(batch)
        output, routings = self.backbone(batch)
        self.evaluation.update(output, batch, routings)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Any]]:
        batch = self.prepare_batch(batch)
        output, _ = self.backbone(batch)
        return self.task.predictions(output, batch)

    def on_validation_epoch_end(self) -> None:
        self.evaluation.finish()

    on_test_epoch_end = on_validation_epoch_end

    def prepare_batch(self, batch: Batch) -> Batch:
        """The batch as the network takes it, with content ids where a router reads them."""
        batch = self.task.collate(batch)
        return self.task.describe(batch) if self.needs_ids else batch
