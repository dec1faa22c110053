"""Weights kept from a training: those of the best validation, and those of every n-th step."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from routers import OptionError

from .._task import Score
from .callbacks import stepped
from .divergence import DivergedError, bad_parameter
from .module import RoutedModule
from .strategies import remove, save_checkpoint

#: Key of the options, for errors.
CHECKPOINT = "trainer.checkpoint"

#: Name of the checkpoint of the best validation.
BEST = "best"


class SavedWeights(Callback):
    """``best.ckpt`` and ``step-NUMBER.ckpt``: weights alone, without the state of the training.

    Args:
        folder: where they are written.
        score: of validation, by which one is better.
        best: keep those of the best validation; of equal ones the first.
        every_n_steps: optimizer steps between two that are kept; None for none.
        keep: number of these that are kept, the last ones; None for all.
    """

    def __init__(
        self,
        folder: Path,
        score: Score,
        *,
        best: bool = True,
        every_n_steps: int | None = None,
        keep: int | None = None,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("keep", keep)):
            if value is not None and value < 1:
                raise OptionError(name, value, "an integer >= 1, or null").under(CHECKPOINT)
        self.folder = folder
        self.score = score
        self.sign = 1 if score.direction == "maximize" else -1
        self.best = best
        self.every = every_n_steps or math.inf
        self.keep = keep
        self.best_value = -math.inf  # the higher, the better
        self.best_step: int | None = None  # before a validation

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self._write(trainer, module, f"step-{trainer.global_step}")
            kept = sorted(self.folder.glob("step-*.ckpt"), key=lambda path: int(path.stem[5:]))
            for path in kept[: -self.keep] if self.keep and trainer.is_global_zero else []:
                remove(path)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        value = self.sign * module.evaluation.scores[self.score.name]
        if self.best and value > self.best_value:
            self.best_value, self.best_step = value, trainer.global_step
            self._write(trainer, module, BEST)

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value = state_dict["best_value"]
        self.best_step = state_dict.get("best_step")  # none in checkpoints of older versions

    def _write(self, trainer: Trainer, module: LightningModule, name: str) -> None:
        if place := bad_parameter(module):
            raise DivergedError(f"after step {trainer.global_step} {place} is not finite")
        save_checkpoint(trainer, self.folder / f"{name}.ckpt", weights_only=True)
