"""What happens around training steps: seeds, logs, time."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from ._module import RoutedModule
from ._seeds import mix_seed


def stepped(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether the optimizer stepped on this batch; micro-batches before it only add gradients."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class Reseed(Callback):
    """Draws of a batch depend on the seed, the epoch and the batch: resuming repeats them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed = mix_seed(self.seed, trainer.current_epoch, batch_idx)
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
        self.items += len(batch["y"])
        step = trainer.global_step
        if stepped(trainer, batch_idx) and step % self.every == 0:
            values = {**module.take_window(), "epoch": trainer.current_epoch}
            values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
            _log(trainer, values)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._pause(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation_log("val"))
        self.validated_at = trainer.global_step
        self._since = time.perf_counter()

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation_log("test"))

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


def _log(trainer: pl.Trainer, values: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
