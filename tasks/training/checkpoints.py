"""Checkpoints from which a run resumes exactly."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from .callbacks import stepped
from .divergence import DivergedError, bad_parameter
from .signals import Stop, StoppedError

#: Longest time between two checkpoints, in addition to one at the end of each epoch.
CHECKPOINT_SECONDS = 60.0


class Checkpoints(Callback):
    """``last.ckpt`` at every epoch's end, every minute, and when the run is asked to stop.

    It is written only right after an optimizer step, so that no gradient is pending, and after
    an epoch's last batch only once the epoch is validated: a run resumed from it continues as if
    it had never stopped. It is written under a temporary name and renamed, and never with
    parameters that are not finite, so an existing checkpoint is always valid.
    """

    def __init__(self, folder: Path, stop: Stop) -> None:
        self.path = folder / "last.ckpt"
        self.stop = stop
        self.saved_at = time.monotonic()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.stop.listen()
        if not self.path.exists():
            self.save(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.stop.signum is not None or time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
        if due and stepped(trainer, batch_idx) and not trainer.is_last_batch:
            self.save(trainer, module)
            self._stop_if_asked()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.save(trainer, module)
        self._stop_if_asked()

    def on_validation_start(self, *args: Any, **kwargs: Any) -> None:
        self.stop.listen()

    on_test_start = on_validation_start

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._stop_if_asked()

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        self.stop.uninstall()

    on_exception = teardown

    def save(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the checkpoint; raise ``DivergedError`` if a parameter is not finite."""
        self.saved_at = time.monotonic()
        if place := bad_parameter(module):
            raise DivergedError(f"after step {trainer.global_step} {place} is not finite")
        for logger in trainer.loggers:
            logger.save()
        part = self.path.with_suffix(".part")
        if self.path.parent.exists():
            trainer.save_checkpoint(part)
            os.replace(part, self.path)
        else:  # the folder and its first checkpoint appear together: an empty folder means a loss
            folder = self.path.parent.with_suffix(".part")
            folder.mkdir(exist_ok=True)
            trainer.save_checkpoint(folder / self.path.name)
            os.replace(folder, self.path.parent)

    def _stop_if_asked(self) -> None:
        if self.stop.signum is not None:
            raise StoppedError(self.stop.signum)
