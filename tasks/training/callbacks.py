"""Callbacks around training steps: seeds, logs, time, reports."""

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from ..loading.rank import Rank
from ..loading.seeds import mix_seed
from .module import RoutedModule

#: Called after each validation during training with the epoch, from 1, and the results.
OnValidation = Callable[[int, dict[str, float]], None]


def stepped(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether the optimizer stepped on this batch; micro-batches before it only add gradients."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class Reseed(Callback):
    """Seeds each batch from the seed, the epoch and the batch, so that resuming repeats its draws.

    Args:
        seed: of the run.
        rank: the process that draws; the first draws as a run on one device does.
    """

    def __init__(self, seed: int, rank: Rank) -> None:
        self.seed = seed
        self.place = (rank.rank,) if rank.rank else ()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed = mix_seed(self.seed, trainer.current_epoch, batch_idx, *self.place)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a millisecond
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.manual_seed(seed)


class Record(Callback):
    """Writes the module's statistics to the loggers, and keeps the time spent training.

    Args:
        every: optimizer steps between two lines of training statistics.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.seconds = 0.0
        self.items = 0
        self.validated_at: int | None = None
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, RoutedModule)
        self.items += len(batch["y"]) * trainer.world_size
        step = trainer.global_step
        if stepped(trainer, batch_idx) and step % self.every == 0:
            values = {**module.pop_training_stats(), "epoch": trainer.current_epoch}
            values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
            _log(trainer, values)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._pause(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation.log_values("val"))
        self.validated_at = trainer.global_step
        self._since = time.perf_counter()

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation.log_values("test"))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._pause(trainer)

    def state_dict(self) -> dict[str, Any]:
        now = time.perf_counter()
        return {"seconds": self.seconds + now - self._since, "items": self.items}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.items = state_dict["items"]

    def _pause(self, trainer: pl.Trainer) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now


class ReportValidation(Callback):
    """Passes the results of each validation during training to a callback.

    Args:
        on_validation: called with the epoch and the results; an error it raises ends training.
    """

    def __init__(self, on_validation: OnValidation) -> None:
        self.on_validation = on_validation

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        if trainer.state.fn == "fit":
            self.on_validation(trainer.current_epoch + 1, _validation_values(module))


def _validation_values(module: RoutedModule) -> dict[str, float]:
    """The last validation as ``result.json`` will name it."""
    evaluation = module.evaluation
    score = evaluation.scores[module.task.score.name]
    return {
        "score.value": score,
        "score.validation": score,
        **{f"scores.{name}": value for name, value in evaluation.scores.items()},
        **{
            f"load.{name}": value
            for name, value in evaluation.load_summary().items()
            if value is not None
        },
    }


def _log(trainer: pl.Trainer, values: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
