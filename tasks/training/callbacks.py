"""Callbacks around training steps: seeds, logs, time, reports."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from .._task import Backbone
from ..loading.batches import Rank
from ..loading.seeds import mix_seed
from .module import RoutedModule

#: Called after the last validation of each epoch with the epoch, from 1, and the results; an error
#: that it raises ends the training.
OnValidation = Callable[[int, dict[str, float]], None]

#: Steps whose times are kept, the last ones.
TIMED_STEPS = 1000


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
        self._since = self._stepped_at = 0.0
        self._times = deque[float](maxlen=TIMED_STEPS)

    @property
    def items_per_second(self) -> float:
        """Training samples per second of training, up to the last validation."""
        return self.items / max(self.seconds, 1e-9)

    @property
    def step_seconds(self) -> float | None:
        """Median time of an optimizer step with its batches, over the last steps."""
        return median(self._times) if self._times else None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._since = self._stepped_at = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, RoutedModule)
        self.items += len(batch["y"]) * trainer.world_size
        if not stepped(trainer, batch_idx):
            return
        now = time.perf_counter()  # the loss was read in the step, so a GPU is not far behind
        self._times.append(now - self._stepped_at)
        self._stepped_at = now
        if trainer.global_step % self.every == 0:
            values = {**module.pop_training_stats(), "epoch": trainer.current_epoch}
            groups = trainer.optimizers[0].param_groups
            values["lr"] = groups[0]["lr"]
            named = (group for group in groups if "pattern" in group)
            values |= {f"lr/{group['pattern']}": group["lr"] for group in named}
            _log(trainer, values)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._pause(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        values = module.evaluation.log_values("val")
        _log(trainer, values)
        # what callbacks after this one may monitor
        trainer.callback_metrics.update({name: torch.tensor(v) for name, v in values.items()})
        self.validated_at = trainer.global_step
        self._since = self._stepped_at = time.perf_counter()

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        _log(trainer, module.evaluation.log_values("test"))

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._pause(trainer)

    def state_dict(self) -> dict[str, Any]:
        now = time.perf_counter()
        seconds = self.seconds + now - self._since
        return {"seconds": seconds, "items": self.items, "times": list(self._times)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.items = state_dict["items"]
        self._times.extend(state_dict.get("times", ()))  # none in checkpoints of older versions

    @contextmanager
    def paused(self, trainer: Trainer) -> Iterator[None]:
        """Context manager: the time inside is neither that of training nor of a step."""
        self._pause(trainer)
        yield
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._stepped_at += now - self._since
        self._since = now

    def _pause(self, trainer: Trainer) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now


class OnExperts(Callback):
    """A callback that changes experts in place, and so needs whole parameters in every process."""

    def check(self, backbone: Backbone) -> None:
        """Raise ``ConfigError`` for a network whose experts it cannot change."""


class ReportValidation(Callback):
    """Passes the last validation of an epoch, named as in ``result.json``, to ``on_validation``."""

    def __init__(self, on_validation: OnValidation) -> None:
        self.on_validation = on_validation

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        left = trainer.num_training_batches - 1 - trainer.fit_loop.batch_idx
        if trainer.state.fn != "fit" or left >= (trainer.val_check_batch or 1):
            return
        evaluation = module.evaluation
        score = evaluation.scores[module.task.score.name]
        values = {"score.value": score, "score.validation": score}
        values |= {f"scores.{name}": value for name, value in evaluation.scores.items()}
        load = evaluation.load_summary()
        values |= {f"load.{name}": value for name, value in load.items() if value is not None}
        self.on_validation(trainer.current_epoch + 1, values)


def _log(trainer: Trainer, values: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
