"""The loss and the score of each sample of a batch."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import singledispatch
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from .._task import Batch, MetricSpec, Task
from ..loading.batches import num_rows

#: Samples by which it is first found out whether a score is a mean over samples.
TRIED = 32

#: Most difference of a score from the mean of those of its samples, relative to values above 1.
TOLERANCE = 1e-6


def losses_by_sample(task: Task, output: Any, batch: Batch) -> Tensor:
    """The loss of each of ``B`` samples as that of a batch of one, ``(B,)``.

    >>> from tasks import build
    >>> batch = {"y": torch.tensor([0, 1])}
    >>> losses_by_sample(build("planted"), torch.zeros(2, 4), batch).tolist()
    [1.386..., 1.386...]
    """
    rows = num_rows(batch)
    tensors = list[Tensor]()

    def note(values: Tensor) -> Tensor:
        tensors.append(values)
        return values

    def loss(*of_sample: Tensor) -> Tensor:
        parts = iter(of_sample)
        return task.loss(*_changed((output, batch), rows, lambda _: next(parts).unsqueeze(0)))

    _changed((output, batch), rows, note)
    try:
        found: Tensor = torch.func.vmap(loss)(*tensors)
    except RuntimeError:  # a loss with branches that depend on values
        found = torch.stack([task.loss(*sample) for sample in _one_by_one(output, batch)])
    return found


class SampleScores:
    """Scores of single samples, if the score of a task is their mean.

    Args:
        task: whose score it is. ``add`` batches to find out whether it is a mean.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        #: Measures that the score is made of: all of them for a task with its own ``overall``.
        own = type(task).overall is Task.overall
        self.names = [task.score.name] if own else list(task.measures())
        self.single, self.whole = self._measures(), self._measures()
        self.total, self.samples, self.is_possible = 0.0, 0, True

    @property
    def score(self) -> float:
        """The score of all that was added."""
        return self._score(self.whole)

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of the scores of the samples."""
        return self.is_possible and _near(self.total / self.samples, self.score)

    def add(self, output: Any, batch: Batch) -> None:
        """Add a batch as the network takes it."""
        self._update(self.whole, output, batch)
        if not self.samples:  # single samples of metrics take long
            rows, few = num_rows(batch), self._measures()
            sample = _changed((output, batch), rows, lambda values: values[:TRIED])
            self._update(few, *sample)
            self.is_possible = _near(float(self.of(*sample).mean()), self._score(few))
        if self.is_possible:
            self.total += float(self.of(output, batch).sum())
        self.samples += num_rows(batch)

    def of(self, output: Any, batch: Batch) -> Tensor:
        """Scores of the samples of a batch, ``(B,)`` float64."""
        with _quietly():
            values = {
                name: _by_sample(spec.metric, spec, output, batch)
                for name, spec in self.single.items()
            }
            scores = [
                self.task.overall({name: of_all[row] for name, of_all in values.items()})
                for row in range(num_rows(batch))
            ]
        return torch.tensor(scores, dtype=torch.float64)

    def _measures(self) -> dict[str, MetricSpec]:
        measures = self.task.measures()
        return {name: measures[name] for name in self.names}

    def _update(self, measures: Mapping[str, MetricSpec], output: Any, batch: Batch) -> None:
        with _quietly():
            for spec in measures.values():
                predicted, wanted = spec.reads(output, batch)
                spec.metric.to(wanted.device).update(predicted, wanted)

    def _score(self, measures: Mapping[str, MetricSpec]) -> float:
        with _quietly():
            return float(self.task.overall({n: _number(s.metric) for n, s in measures.items()}))


@singledispatch
def _by_sample(metric: Metric, spec: MetricSpec, output: Any, batch: Batch) -> list[float]:
    """The value of a metric for each sample."""
    return _each_alone(metric, spec, output, batch)


@_by_sample.register
def _accuracy_by_sample(
    metric: MulticlassAccuracy, spec: MetricSpec, output: Any, batch: Batch
) -> list[float]:
    """The same without a call of the metric for each sample."""
    predicted, wanted = spec.reads(output, batch)
    is_share = metric.average == "micro" and metric.top_k == 1 and wanted.dim() == 1
    is_whole = len(wanted) == num_rows(batch)
    if metric.ignore_index is not None:
        is_whole = is_whole and not bool((wanted == metric.ignore_index).any())
    if not (is_share and is_whole):
        return _each_alone(metric, spec, output, batch)
    labels = predicted.argmax(1) if predicted.dim() > 1 else predicted
    return (labels == wanted).double().tolist()


def _each_alone(metric: Metric, spec: MetricSpec, output: Any, batch: Batch) -> list[float]:
    found = []
    for sample in _one_by_one(output, batch):
        predicted, wanted = spec.reads(*sample)
        metric.to(wanted.device).reset()
        metric.update(predicted, wanted)
        found.append(_number(metric))
    return found


def _number(metric: Metric) -> float:
    """The value of a metric; NaN for one that has a value for each label."""
    value = metric.compute()
    return float("nan") if isinstance(value, Mapping) else float(value)


def _one_by_one(output: Any, batch: Batch) -> Iterator[tuple[Any, Batch]]:
    """Output and batch of each sample."""
    rows = num_rows(batch)
    for row in range(rows):
        yield _changed((output, batch), rows, itemgetter(slice(row, row + 1)))


def _changed(value: Any, rows: int, change: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with every tensor in it changed whose first axis is that of ``rows`` samples."""
    if isinstance(value, Tensor):
        return change(value) if value.dim() and len(value) == rows else value
    if isinstance(value, Mapping):
        return {name: _changed(each, rows, change) for name, each in value.items()}
    if isinstance(value, tuple | list):
        parts = [_changed(each, rows, change) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        own = {each.name: getattr(value, each.name) for each in fields(value)}
        return replace(value, **_changed(own, rows, change))
    return value


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(1.0, abs(other))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without warnings about metrics of a single sample."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
