"""What happens around training steps: seeds, logs, time, checkpoints."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from ._module import RoutedModule
from ._seeds import mix_seed

#: A checkpoint is written at least this often, beside every end of an epoch.
CHECKPOINT_SECONDS = 60.0


class StoppedError(Exception):
    """A signal asked the run to stop, and a checkpoint was written."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Reseed(Callback):
    """Draws of a batch depend on the seed, the epoch and the batch: resuming repeats them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        torch.manual_seed(mix_seed(self.seed, trainer.current_epoch, batch_idx))


class Checkpoints(Callback):
    """``last.ckpt`` at every epoch's end, every minute, and when a signal asks to stop.

    It is written under another name and renamed, and never from parameters that are not
    finite, so the one that is there is always good.

    Args:
        folder: where ``last.ckpt`` goes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"
        self.saved_at = time.monotonic()
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._ask)
        self.save(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        if self.signum is not None:
            self.save(trainer, module)
            raise StoppedError(self.signum)
        if time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
            self.save(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.save(trainer, module)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()

    def save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the checkpoint, unless what it would hold is broken."""
        self.saved_at = time.monotonic()
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            return
        for logger in trainer.loggers:
            logger.save()
        part = self.path.with_suffix(".part")
        trainer.save_checkpoint(part)
        os.replace(part, self.path)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        """The first signal stops after the batch in hand; a second one at once."""
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum


class Record(Callback):
    """Writes the module's statistics to the loggers, and keeps the time spent training.

    Args:
        every: optimizer steps between two lines of training statistics.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.seconds = 0.0
        self.items = 0
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
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and step % self.every == 0:
            values = {**module.take_window(), "epoch": trainer.current_epoch}
            values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
            _log(trainer, values)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._pause(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, {**module.evaluation_log("val"), "epoch": trainer.current_epoch})
        self._since = time.perf_counter()

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
