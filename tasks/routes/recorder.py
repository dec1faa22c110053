"""Callbacks that keep routes: of a whole evaluation, and of some samples while a run trains."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from experts import record
from routers import Items, OptionError, Routing, comparison

from .._task import Batch
from ..loading.batches import InOrder, num_rows
from ..training.callbacks import Record, stepped
from ..training.module import RoutedModule
from .collection import RouteCollection, few, routed_items
from .history import ROUTES, recorded_steps, step_of

#: Key of the options, for errors.
RECORD_ROUTES = "trainer.record_routes"

#: Sizes of the noise by which sensitivity is measured, relative to an item.
SCALES = (0.01, 0.1)


class CollectRoutes(Callback):
    """Collects the routes of every layer while the trainer tests a network.

    Attributes:
        collection: what was collected.
        sensitivity: of each layer by name, then by the scale of the noise: the mean share of an
            item's experts that change.
    """

    def __init__(self) -> None:
        self.collection: RouteCollection
        self._changed: list[tuple[str, float, float, int]] = []  # layer, scale, share, items
        self._hooks = ExitStack()
        self._routings: Mapping[str, list[Routing]] = {}
        self._items: Mapping[str, Items] = {}

    @property
    def sensitivity(self) -> dict[str, dict[str, float]]:
        """Means over items."""
        found: dict[str, dict[str, float]] = {}
        for name in self.collection.layers:
            for scale in SCALES:
                of_layer = [
                    (c, n) for layer, s, c, n in self._changed if (layer, s) == (name, scale)
                ]
                shares, items = zip(*of_layer, strict=True)
                found.setdefault(name, {})[f"{scale:g}"] = float(np.average(shares, weights=items))
        return found

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        self.collection = RouteCollection(module.task, module.backbone)
        self._routings = self._hooks.enter_context(record(module.backbone))
        self._items = self._hooks.enter_context(routed_items(module.backbone))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(module, RoutedModule)
        self.collection.add(module.prepare_batch(batch), self._routings)
        items = dict(self._items)  # measuring routes others
        for name, layer in self.collection.layers.items():
            self._routings[name].clear()
            for scale in SCALES:
                share = comparison.sensitivity(layer.router, items[name], scale, seed=batch_idx)
                count = int(items[name].real().sum())
                self._changed.append((name, scale, share, max(count, 1)))

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._hooks.close()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        self._hooks.close()


class RecordRoutes(Callback):
    """Writes ``routes/step-NUMBER.parquet`` while a run trains: always of the same samples.

    It begins before the first step and ends with the last; a resumed run writes the same files.
    Every process runs the network, since sharded ones need all; the first one writes. The time
    that this takes is no training time.

    Args:
        folder: of the run.
        split: whose first samples are recorded.
        batch_size: of these passes.
        time: of the training.
        about: the data, for the tables.
        every: optimizer steps between two tables.
        items: number of samples.
    """

    def __init__(
        self,
        folder: Path,
        split: Batch,
        batch_size: int,
        time: Record,
        about: Mapping[str, Any],
        *,
        every: int,
        items: int,
    ) -> None:
        if every < 1:
            raise OptionError("every", every, "an integer >= 1").under(RECORD_ROUTES)
        rows = num_rows(split)
        if not 1 <= items <= rows:
            expected = f"an integer in [1, {rows}], the validation samples"
            raise OptionError("items", items, expected).under(RECORD_ROUTES)
        self.folder = folder / ROUTES
        self.samples = few(split, items)
        self.batch_size = batch_size
        self.time = time
        self.about = dict(about)
        self.every = every

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            for path in recorded_steps(self.folder.parent):
                if step_of(path) % self.every:  # the end of a training that now continues
                    path.unlink()
        if trainer.global_step == 0:
            self._write(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self._write(trainer, module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._path(trainer).exists():
            self._write(trainer, module)

    def _path(self, trainer: Trainer) -> Path:
        return self.folder / f"step-{trainer.global_step}.parquet"

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RoutedModule)
        with self.time.paused(trainer):
            collection = RouteCollection(module.task, module.backbone)
            with unchanged(module), record(module.backbone) as routings:
                for batch in InOrder(self.samples, self.batch_size):
                    given = module.prepare_batch(_moved(trainer, batch))
                    with trainer.precision_plugin.val_step_context():
                        module.backbone(given)
                    collection.add(given, routings)
                    for of_layer in routings.values():
                        of_layer.clear()
            if trainer.is_global_zero:
                self.folder.mkdir(exist_ok=True)
                place = {"step": trainer.global_step, "split": "val"}
                about = {**self.about, **place, "samples": collection.samples}
                collection.table(about).write(self._path(trainer))


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards modes and random states are as before."""
    modes = [(each, each.training) for each in module.modules()]
    places = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.no_grad(), torch.random.fork_rng(devices=places):
        module.eval()
        try:
            yield
        finally:
            for each, training in modes:
                each.training = training


def _moved(trainer: Trainer, batch: Batch) -> Batch:
    """A batch on the device of the training and in its precision."""
    converted = trainer.precision_plugin.convert_input(batch)
    moved: Batch = trainer.strategy.batch_to_device(converted)
    return moved
