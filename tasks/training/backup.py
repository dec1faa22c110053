"""Copies of experts kept in training, from which lost ones come back."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from experts import MoE, copy_experts, lost_experts, restore_experts
from routers import ConfigError, OptionError
from routers.blocks import sum_over_ranks

from .._task import Backbone
from ..assembly.build import routed_layers
from ..edits.backup import BACKUP, Backup, read_backup
from .callbacks import OnExperts, stepped
from .collectives import agreed
from .module import RoutedModule

KEY = "trainer.callbacks=backup"


class BackupExperts(OnExperts):
    """Copies experts and their optimizer state every so many steps; a lost expert comes back.

    Lost is an expert with a parameter that is not finite, or with parameters that are all 0. It is
    looked for after every optimizer step and before every forward pass, and gets the values of its
    last copy; all other parameters stay. ``train/restored_experts`` in ``metrics.csv`` counts them.

    Copies are made by the training and written to the run's folder by a thread; of copies that
    come while it writes, the last one is written. On several devices all have copies, restore the
    same experts, and the first one writes.

    Args:
        every: optimizer steps between two copies.
    """

    def __init__(self, *, every: int = 100) -> None:
        if every < 1:
            raise OptionError("every", every, "an integer >= 1")
        self.every = every
        self.restored = 0
        self.last: Backup | None = None
        self.ready: Callable[[], object] = lambda: None  # waits until the copies are complete
        self.writer: Writer | None = None

    def check(self, backbone: Backbone) -> None:
        if not (layers := routed_layers(backbone)):
            raise OptionError.about(KEY, ": the network has no routed layer; remove it")
        for layer in layers:
            try:
                lost_experts(layer)
            except ConfigError as error:
                raise OptionError.about(KEY, f": {error}, or remove it") from error

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        self.writer = Writer(folder / BACKUP)
        saved = agreed(lambda: read_backup(folder), by_first=True)
        if saved is not None and saved.step <= trainer.global_step:  # else of steps to come again
            self.last = saved
        self._restore(trainer, module)
        if self.last is None:
            self._copy(trainer, module)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._restore(trainer, module)  # lost between two steps

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if stepped(trainer, batch_idx):
            self._restore(trainer, module)  # lost in the step, before a checkpoint
            if trainer.global_step % self.every == 0:
                self._copy(trainer, module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.writer is not None:
            self.writer.finish()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        with suppress(Exception):  # the first error counts
            if self.writer is not None:
                self.writer.finish()

    def state_dict(self) -> dict[str, Any]:
        return {"restored": self.restored}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict["restored"]

    def _copy(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        assert self.writer is not None
        state = trainer.optimizers[0].state
        copies = [copy_experts(layer, state) for layer in routed_layers(module.backbone)]
        self.last = Backup(trainer.global_step, copies)
        if module.device.type == "cuda":
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
            self.ready = done.synchronize
        if trainer.is_global_zero:
            self.writer.write(self.last, self.ready)

    def _restore(self, trainer: Trainer, module: LightningModule) -> None:
        """Put lost experts back, of all processes those that any has lost."""
        assert isinstance(module, RoutedModule)
        layers = routed_layers(module.backbone)
        lost = sum_over_ranks(torch.cat([lost_experts(layer) for layer in layers]).float())
        if not lost.any():
            return
        parts = torch.split(lost, [layer.bank.num_experts for layer in layers])
        for number, (layer, part) in enumerate(zip(layers, parts, strict=True)):
            if experts := part.nonzero().flatten().tolist():
                self._restore_layer(trainer, number, layer, experts)
        for logger in trainer.loggers:
            counted = {"train/restored_experts": float(self.restored)}
            logger.log_metrics(counted, step=trainer.global_step)

    def _restore_layer(
        self, trainer: Trainer, number: int, layer: MoE, experts: Sequence[int]
    ) -> None:
        place = f"experts {experts} of layer {number} are lost after step {trainer.global_step}"
        if self.last is None:
            raise ConfigError(
                f"{KEY}: {place}, before any copy of them; start from weights that are finite and "
                "not all 0"
            )
        self.ready()
        restore_experts(layer, self.last.layers[number], experts, trainer.optimizers[0].state)
        self.restored += len(experts)
        if trainer.is_global_zero:
            warnings.warn(f"{place}; they are those of step {self.last.step} again", stacklevel=1)


class Writer:
    """A thread that writes copies of experts to a file, one after the other.

    An error of the thread is raised by the next call, once.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, "backup")
        self._writing: Future[None] | None = None
        self._next: tuple[Backup, Callable[[], object]] | None = None

    def write(self, backup: Backup, ready: Callable[[], object]) -> None:
        """Write copies later, unless others come first; ``ready`` waits until they are complete."""
        self._next = backup, ready
        if self._writing is None or self._writing.done():
            self._start()

    def finish(self) -> None:
        """Wait until the last copies are written."""
        try:
            while self._next is not None:
                self._start()
            self._join()
        finally:
            self._thread.shutdown()

    def _start(self) -> None:
        self._join()
        if self._next is not None:
            self._writing, self._next = self._thread.submit(self._write, *self._next), None

    def _join(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, backup: Backup, ready: Callable[[], object]) -> None:
        ready()
        self.path.parent.mkdir(exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            torch.save({"format": 1, **backup._asdict()}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)
