"""The progress of a training on the screen: a bar on terminals, lines elsewhere."""

import time
from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from .callbacks import Record
from .module import RoutedModule
from .stopping import TimeLimit

#: Batches that are not timed, since the first ones are slow, and the seconds of later ones by
#: which the time of the run is estimated.
WARM_UP, TIMED_SECONDS = 3, 2.0

#: The time of a batch in evaluation, as a part of that of one in training.
EVALUATION = 0.4


class Progress(Callback):
    """Prints at the start what is trained: ``about``, then steps, devices and threads.

    After some batches it prints how long the run is expected to take.

    Args:
        console: where it prints; every line is flushed.
        about: lines about data and network.
        record: counts the samples and the time.
        began: when the run began to read its data, by ``time.monotonic``.
        tested: batches that are evaluated after training.
    """

    def __init__(
        self,
        console: Console,
        about: Sequence[str],
        record: Record,
        began: float,
        tested: int,
    ) -> None:
        self.console = console
        self.about = about
        self.record = record
        self.began, self.tested = began, tested
        self.started, self.first = time.monotonic(), 0
        self.since, self.times = self.started, list[float]()
        self.expected = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        self.started, self.first = time.monotonic(), trainer.global_step
        steps, device = module.total_steps, str(trainer.strategy.root_device)
        if trainer.world_size > 1:
            device = f"{trainer.strategy.root_device.type} x {trainer.world_size}"
        after = f", resumed after step {trainer.global_step:,}" if trainer.global_step else ""
        for line in self.about:
            self.say(line)
        self.say(
            f"training: steps {steps:,}, epochs {_epoch(trainer, steps)}, device {device}, "
            f"threads {torch.get_num_threads()}{after}"
        )

    def on_train_epoch_start(self, *args: Any) -> None:
        self.since = time.monotonic()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.since = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        assert isinstance(module, RoutedModule)
        if self.expected:
            return
        last, self.since = self.since, time.monotonic()  # reading the batch is part of it
        self.times.append(self.since - last)
        timed = self.times[WARM_UP:]
        if sum(timed) >= TIMED_SECONDS:
            self.expected = True
            each = median(timed)
            found = trainer.callbacks  # type: ignore[attr-defined]
            limits = [c.time_remaining() or 0.0 for c in found if isinstance(c, TimeLimit)]
            left = min([each * _batches_left(trainer, module), *limits])
            test = each * EVALUATION * self.tested
            whole = timedelta(seconds=round(self.since - self.began + left + test))
            self.say(
                f"expected time: {whole} with reading, validations and test, {each:.3f} s a batch"
            )

    def say(self, line: str) -> None:
        """Print a line, whatever its length, as it is."""
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)


class ProgressLines(Progress):
    """Prints a line per validation.

    The train loss is the mean since the last validation, or since the start or resume.
    """

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        super().on_validation_end(trainer, module)
        name, load = module.task.score.name, module.evaluation.load_summary()
        words = [
            f"train loss {module.pop_train_loss():.4f}",
            f"validation {name} {module.evaluation.scores[name]:.4f}",
        ]
        if load:
            words.append(f"load CV {load['cv']:.3f}, dead experts {load['dead_experts']:.0f}")
        self._say_at(trainer, f"{', '.join(words)}, {self._pace(trainer, module)}")

    def _say_at(self, trainer: Trainer, text: str) -> None:
        step = trainer.global_step
        self.say(f"epoch {_epoch(trainer, step)}, step {step:,}: {text}")

    def _pace(self, trainer: Trainer, module: RoutedModule) -> str:
        """Samples per second so far, and the time left if steps take as long as they did."""
        done, left = trainer.global_step - self.first, module.total_steps - trainer.global_step
        speed = f"{self.record.items_per_second:,.0f} samples per second"
        if not done:
            return speed
        seconds = round((time.monotonic() - self.started) / done * left)
        return f"{speed}, {timedelta(seconds=seconds)} left"


class ProgressBar(Progress):
    """Shows finished steps, the last validation score and the remaining time."""

    #: Steps between two updates.
    every = 10

    def __init__(self, console: Console, *args: Any) -> None:
        from rich import progress

        super().__init__(console, *args)
        self.progress = progress.Progress(
            progress.TextColumn("training"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[score]}"),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.bar = self.progress.add_task("", total=None, score="")

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        super().on_train_start(trainer, module)
        self.progress.start()
        self.progress.update(self.bar, total=module.total_steps, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        super().on_train_batch_end(trainer, module, *args)
        if trainer.global_step % self.every == 0:
            self.progress.update(self.bar, completed=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        super().on_validation_end(trainer, module)
        name = module.task.score.name
        value = module.evaluation.scores[name]
        self.progress.update(self.bar, score=f"validation {name} {value:.3f}")

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        self.progress.stop()

    on_exception = teardown


def _batches_left(trainer: Trainer, module: RoutedModule) -> float:
    """Batches to train on, and those of validations, which count as less."""
    left = (module.total_steps - trainer.global_step) * trainer.accumulate_grad_batches
    every = (trainer.val_check_batch or left or 1) * (trainer.check_val_every_n_epoch or 1)
    return left + EVALUATION * sum(map(int, trainer.num_val_batches)) * left / every


def _epoch(trainer: Trainer, step: int) -> int:
    """The epoch of a step, both from 1."""
    per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
    return max(1, -(-step // per_epoch))
