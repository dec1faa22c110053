"""Callbacks around training steps: seeds, logs, time, progress, reports."""

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..loading.batches import Rank, mix_seed
from .module import RoutedModule

#: Called after each validation during training with the epoch, from 1, and the results; an error
#: that it raises ends the training.
OnValidation = Callable[[int, dict[str, float]], None]


def stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer stepped on this batch; micro-batches before it only add gradients."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class Reseed(Callback):
    """Seeds each batch from the seed, the epoch and the batch, so that resuming repeats its draws.

    The first rank draws as a run on one device does.
    """

    def __init__(self, seed: int, rank: Rank) -> None:
        self.seed = seed
        self.place = (rank.rank,) if rank.rank else ()

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed = mix_seed(self.seed, trainer.current_epoch, batch_idx, *self.place)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a millisecond
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.manual_seed(seed)


class Record(Callback):
    """Writes statistics, every ``every`` optimizer steps, and keeps the time spent training."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seconds = 0.0
        self.items = 0
        self.validated_at: int | None = None
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, RoutedModule)
        self.items += len(batch["y"]) * trainer.world_size
        if stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            values = {**module.pop_training_stats(), "epoch": trainer.current_epoch}
            values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
            _log(trainer, values)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._pause(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation.log_values("val"))
        self.validated_at = trainer.global_step
        self._since = time.perf_counter()

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation.log_values("test"))

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._pause(trainer)

    def state_dict(self) -> dict[str, Any]:
        now = time.perf_counter()
        return {"seconds": self.seconds + now - self._since, "items": self.items}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.items = state_dict["items"]

    def _pause(self, trainer: Trainer) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now


class ReportValidation(Callback):
    """Passes validations during training, named as in ``result.json``, to ``on_validation``."""

    def __init__(self, on_validation: OnValidation) -> None:
        self.on_validation = on_validation

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        if trainer.state.fn != "fit":
            return
        evaluation = module.evaluation
        score = evaluation.scores[module.task.score.name]
        values = {"score.value": score, "score.validation": score}
        values |= {f"scores.{name}": value for name, value in evaluation.scores.items()}
        load = evaluation.load_summary()
        values |= {f"load.{name}": value for name, value in load.items() if value is not None}
        self.on_validation(trainer.current_epoch + 1, values)


class ProgressBar(Callback):
    """Shows finished steps, the last validation score and the remaining time, on terminals."""

    def __init__(self, console: Console, every: int = 10) -> None:
        self.every = every
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("", total=None, score="")

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        self.progress.start()
        self.progress.update(self.bar, total=module.total_steps, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.progress.update(self.bar, completed=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        name = module.task.score.name
        value = module.evaluation.scores[name]
        self.progress.update(self.bar, score=f"validation {name} {value:.3f}")

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        self.progress.stop()

    on_exception = teardown


def _log(trainer: Trainer, values: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
