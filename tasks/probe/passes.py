"""Passes of a network over a split, as it is and under changes, for ``Trainer.test``."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experts import MoE
from routers import ConfigError

from .._task import Batch
from ..loading.batches import num_rows
from ..metrics.specialization import rows_by_kind
from ..training.module import RoutedModule
from .cases import Case
from .sample_values import SampleScores, losses_by_sample


class FirstPass(pl.LightningModule):
    """A pass of the network as it is: what its experts work on, and the labels of samples.

    Attributes:
        scores: whether the score is a mean over samples.
        samples: their number.
        tables: for each layer the rows of each expert by label, ``(E, labels)``, by labeling.
        load: for each layer the rows of each expert, ``(E,)``.
    """

    def __init__(self, module: RoutedModule, layers: Sequence[MoE]) -> None:
        super().__init__()
        self.module = module
        self.scores = SampleScores(module.task)
        self.labelings = module.task.kinds()
        self.samples = 0
        experts = [layer.router.num_experts for layer in layers]
        self.load = [torch.zeros(number, dtype=torch.float64) for number in experts]
        self.tables = [
            {each.name: torch.zeros(e, len(each.names)).double() for each in self.labelings}
            for e in experts
        ]
        self._labels: dict[str, list[Tensor]] = {each.name: [] for each in self.labelings}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        batch = self.module.prepare_batch(batch)
        output, routings = self.module.backbone(batch)
        self.scores.add(output, batch)
        self.samples += num_rows(batch)
        for load, routing in zip(self.load, routings, strict=True):
            load += routing.load.cpu()
        for labeling in self.labelings:
            kind = labeling.of(batch)
            self._labels[labeling.name].append(kind.flatten().cpu())
            for tables, routing in zip(self.tables, routings, strict=True):
                table = rows_by_kind(routing, kind, len(labeling.names))
                tables[labeling.name] += table.cpu()

    @property
    def labels(self) -> dict[str, NDArray[np.int64]]:
        """Labels of samples ``(N,)`` by labeling, of those that label whole samples."""
        found = {name: torch.cat(parts).numpy() for name, parts in self._labels.items()}
        return {name: labels for name, labels in found.items() if len(labels) == self.samples}


class Passes(pl.LightningModule):
    """Passes of the network under each of some changes, batch by batch.

    Args:
        module: the network and its task.
        cases: the changes.
        scores: of single samples, if the score is their mean.
    """

    def __init__(
        self, module: RoutedModule, cases: Sequence[Case], scores: SampleScores | None
    ) -> None:
        super().__init__()
        self.module = module
        self.cases = cases
        self.scores = scores
        self._values: list[list[Tensor]] = [[] for _ in cases]
        self._rows = [0] * len(cases)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        batch = self.module.prepare_batch(batch)
        for number, case in enumerate(self.cases):
            with case.changed(batch):
                output, routings = self.module.backbone(batch)
            values = [losses_by_sample(self.module.task, output, batch).double().cpu()]
            if self.scores is not None:
                values.append(self.scores.of(output, batch))
            self._values[number].append(torch.stack(values))
            self._rows[number] += sum(int(routing.load.sum()) for routing in routings)

    @property
    def values(self) -> NDArray[np.float64]:
        """Loss and, if asked for, score of each sample in each case, ``(1 or 2, cases, N)``."""
        return torch.stack([torch.cat(parts, 1) for parts in self._values], 1).numpy()

    @property
    def rows(self) -> list[float]:
        """Rows that experts of all layers compute for a sample, in each case."""
        samples = sum(part.shape[1] for part in self._values[0])
        return [rows / samples for rows in self._rows]


class TryOut(pl.LightningModule):
    """A pass over a few samples, which finds out what changes are impossible.

    Attributes:
        refused: reasons by the place of a case.
    """

    def __init__(self, module: RoutedModule, cases: Sequence[Case]) -> None:
        super().__init__()
        self.module = module
        self.cases = cases
        self.refused: dict[int, str] = {}

    def test_step(self, batch: Any, batch_idx: int) -> None:
        batch = self.module.prepare_batch(batch)
        for number, case in enumerate(self.cases):
            try:
                with case.changed(batch):
                    self.module.backbone(batch)
            except ConfigError as error:
                self.refused[number] = str(error)
