"""One progress bar for the whole training."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .module import RoutedModule


class ProgressBar(Callback):
    """Shows finished steps, the last validation score and the remaining time during training.

    Args:
        console: the console to draw on; nothing is drawn unless it is a terminal.
        every: steps between two updates.
    """

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

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        self.progress.start()
        self.progress.update(self.bar, total=module.total_steps, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.progress.update(self.bar, completed=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        name = module.task.score.name
        value = module.evaluation.scores[name]
        self.progress.update(self.bar, score=f"validation {name} {value:.3f}")

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self.progress.stop()

    def on_exception(self, *args: Any) -> None:
        self.progress.stop()
