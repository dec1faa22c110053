"""Checkpoints from which a run resumes exactly."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from routers.blocks import sum_over_ranks

from .callbacks import stepped
from .divergence import DivergedError, bad_parameter
from .frozen_weights import FILE as FROZEN
from .frozen_weights import frozen_weights, write_frozen
from .module import RoutedModule
from .signals import STOP_SIGNALS, Stop, StoppedError
from .strategies import save_checkpoint

#: Longest time between two checkpoints, in addition to one at the end of each epoch.
CHECKPOINT_SECONDS = 60.0


#: What resuming reads of a checkpoint, by key: a type, or keys inside. Lightning skips some of it
#: if it is missing, and trains on from elsewhere.
_CONTENT: dict[str, Any] = {
    "state_dict": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "global_step": int,
    "epoch": int,
    "pytorch-lightning_version": str,
    "callbacks": {"Record": {"seconds": float, "items": int}},
    "loops": {
        "fit_loop": {
            "epoch_progress": {"total": dict, "current": dict},
            "epoch_loop.state_dict": {"_batches_that_stepped": int},
            "epoch_loop.batch_progress": {"total": dict, "current": dict},
            "epoch_loop.scheduler_progress": {"total": dict, "current": dict},
            "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": dict}},
        }
    },
}

#: The same of the state of the optimizer, and of its schedule.
_OPTIMIZER = {"state": dict, "param_groups": list}
_SCHEDULE = {"last_epoch": int, "_step_count": int, "_last_lr": list}


def invalid_entry(saved: Any) -> str:
    """The first entry of a checkpoint that is missing or of a wrong type; "" if it can be resumed.

    >>> invalid_entry({"state_dict": {}, "optimizer_states": 3})
    'optimizer_states'
    """
    if entry := _misfit(saved, _CONTENT):
        return entry
    for name, values in saved["state_dict"].items():
        if not isinstance(values, torch.Tensor):
            return f"state_dict.{name}"
    for key, content in (("optimizer_states", _OPTIMIZER), ("lr_schedulers", _SCHEDULE)):
        if len(saved[key]) != 1 or _misfit(saved[key][0], content):
            return key
    # a gradient scaler may have skipped all steps; any other step leaves a momentum
    stepped = saved["global_step"] and "MixedPrecision" not in saved
    return "optimizer_states" if stepped and not saved["optimizer_states"][0]["state"] else ""


def _misfit(value: Any, content: Any, entry: str = "") -> str:
    if isinstance(content, type):
        return "" if isinstance(value, content) else entry
    if not isinstance(value, dict):
        return entry or "entries"
    inner = (_misfit(value.get(k), c, f"{entry}.{k}".lstrip(".")) for k, c in content.items())
    return next(filter(None, inner), "")


class Checkpoints(Callback):
    """``last.ckpt`` at every epoch's end, every minute, and when the run is asked to stop.

    It is written only right after an optimizer step, so that no gradient is pending, and after
    an epoch's last batch, or another that a validation may follow, only once that is done: a run
    resumed from it continues as if it had never stopped. It is written under a temporary name and
    renamed, and never with parameters that are not finite, so an existing checkpoint is always
    valid. All processes of a run save together.

    Args:
        folder: where it is written.
        stop: says whether a signal asked this process to stop.
        new: whether the training starts here, with a checkpoint before its first step.
    """

    def __init__(self, folder: Path, stop: Stop, new: bool) -> None:
        self.path = folder / "last.ckpt"
        self.stop = stop
        self.new = new
        self.saved_at = time.monotonic()
        self.saved_step = -1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        self.stop.listen()
        module.request = self._wishes
        if self.new:
            self.save(trainer, module)
        elif trainer.is_global_zero and not (self.path.parent / FROZEN).exists():
            write_frozen(self.path.parent, frozen_weights(module))  # of an older version

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, RoutedModule)
        if not _may_validate(trainer) and stepped(trainer, batch_idx):
            self._save_if_due(trainer, module, module.requested)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        # an epoch that a time limit ended continues from where it is, and its checkpoint is there
        if trainer.is_last_batch or self.saved_step != trainer.global_step:
            self.save(trainer, module)
        _stop_if_asked(self._ask_all(module))

    def on_validation_start(self, *args: Any, **kwargs: Any) -> None:
        self.stop.listen()

    on_test_start = on_validation_start

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn != "fit" or self.saved_step == trainer.global_step:
            return
        if stepped(trainer, trainer.fit_loop.batch_idx):
            self._save_if_due(trainer, module, self._ask_all(module))

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        _stop_if_asked(self._wishes())  # nothing is saved, so ranks need not agree

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        self.stop.uninstall()

    on_exception = teardown

    def save(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the checkpoint; raise ``DivergedError`` if a parameter is not finite."""
        self.saved_at, self.saved_step = time.monotonic(), trainer.global_step
        if place := bad_parameter(module):
            raise DivergedError(f"after step {trainer.global_step} {place} is not finite")
        for logger in trainer.loggers:
            logger.save()
        if not self.new:
            save_checkpoint(trainer, self.path)
            return
        # the folder and its first checkpoint appear together: an empty folder means a loss
        self.new = False
        folder = self.path.parent.with_suffix(".part")
        if trainer.is_global_zero:
            folder.mkdir(exist_ok=True)
            write_frozen(folder, frozen_weights(module))
        save_checkpoint(trainer, folder / self.path.name)
        if trainer.is_global_zero:
            os.replace(folder, self.path.parent)

    def _wishes(self) -> list[float]:
        """Requests of this process to all: a checkpoint, since the last is old, or to stop."""
        old = time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
        return [float(old), *(float(self.stop.signum == each) for each in STOP_SIGNALS)]

    def _ask_all(self, module: LightningModule) -> list[float]:
        wishes = torch.tensor(self._wishes(), device=module.device)
        found: list[float] = sum_over_ranks(wishes).tolist()
        return found

    def _save_if_due(
        self, trainer: Trainer, module: LightningModule, wishes: Sequence[float]
    ) -> None:
        """Save within an epoch, after an optimizer step, so that no gradient is pending."""
        ends = trainer.should_stop and trainer.fit_loop._can_stop_early
        if (ends or any(wishes)) and not trainer.is_last_batch:
            self.save(trainer, module)
            _stop_if_asked(wishes)


def _stop_if_asked(wishes: Sequence[float]) -> None:
    """Raise ``StoppedError`` if any process got a signal."""
    for signum, asked in zip(STOP_SIGNALS, wishes[1:], strict=True):
        if asked:
            raise StoppedError(signum)


def _may_validate(trainer: Trainer) -> bool:
    """Whether a validation may follow this batch: a checkpoint before it would skip it."""
    loop, every = trainer.fit_loop, trainer.val_check_batch
    if not every or every == math.inf:
        return False
    return not ((loop.batch_idx + 1) % every and (loop.total_batch_idx + 1) % every)
