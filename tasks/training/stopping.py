"""Reasons to end a training before its last step: a time limit, a value that stopped improving."""

from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from routers import OptionError

from ..config.max_time import read_max_time
from ..config.schema import MAX_TIME
from .callbacks import stepped

#: Key of early stopping, also in ``result.json``.
EARLY_STOPPING = "trainer.early_stopping"


class TimeLimit(Timer):
    """Lightning's ``Timer``, which ends training right after an optimizer step.

    The time of a resumed run includes that of its earlier processes.

    Args:
        duration: as ``read_max_time`` takes it.

    >>> TimeLimit({"hours": 2}).time_remaining()
    7200.0
    """

    key = MAX_TIME

    def __init__(self, duration: Any) -> None:
        super().__init__(read_max_time(duration), verbose=False)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if stepped(trainer, trainer.fit_loop.batch_idx):
            super().on_train_batch_end(trainer, *args, **kwargs)

    @property
    def stopped(self) -> bool:
        """Whether the time is over."""
        return (self.time_remaining() or 0.0) <= 0


class EarlyStop(EarlyStopping):
    """Lightning's ``EarlyStopping``, applied after every validation; its options are ours.

    Args:
        monitor: a column of ``metrics.csv`` that begins with ``val/``.
        mode: whether lower (``min``) or higher (``max``) values are better.
        patience: validations without improvement before training ends.
        min_delta: smallest change that is an improvement.
        stopping_threshold: a value at which training ends at once, since it is good enough.
        divergence_threshold: a value at which training ends at once, since it is too bad.
        check_finite: end training if the value is not finite.
    """

    key = EARLY_STOPPING

    def __init__(
        self,
        *,
        monitor: str,
        mode: Literal["min", "max"] = "min",
        patience: int = 3,
        min_delta: float = 0.0,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_finite: bool = True,
    ) -> None:
        if patience < 1:
            raise OptionError("patience", patience, "an integer >= 1").under(self.key)
        super().__init__(
            monitor,
            min_delta,
            patience,
            mode=mode,
            check_finite=check_finite,
            stopping_threshold=stopping_threshold,
            divergence_threshold=divergence_threshold,
            check_on_train_epoch_end=False,
        )

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop |= self.stopped  # of a resumed run, before its result was written

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        super().on_validation_end(trainer, module)

    @property
    def stopped(self) -> bool:
        """Whether the value was a reason to end training."""
        return self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED
