"""Tools of the checks: a task under test with its data, batches and networks."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

import routers
from routers import ConfigError, Routing

from .._task import Backbone, Batch, Data, Task
from ..assembly.build import build_backbone, build_task, prepare_routers, read_data, routed_layers
from ..assembly.recipe import choose
from ..config.compose import compose
from ..config.schema import Config
from ..loading.batches import num_rows

#: Samples of a batch.
ROWS = 32


@dataclass(frozen=True)
class TaskUnderTest:
    """A task under test, with the network of its configuration."""

    config: Config

    @cached_property
    def built(self) -> tuple[Task, Data]:
        """The task and its data."""
        return self.fresh()

    @property
    def task(self) -> Task:
        """The task, with its data read."""
        return self.built[0]

    @property
    def data(self) -> Data:
        """The data."""
        return self.built[1]

    def fresh(self, same_data: Mapping[str, Any] = {}) -> tuple[Task, Data]:
        """Another instance of the task with its data, as another process would build it.

        ``same_data`` is that of a task that has read its data.
        """
        task = build_task(self.config, same_data)
        return task, read_data(self.config, task)

    def splits(self) -> Iterator[tuple[str, Batch]]:
        """Names and samples of the three splits."""
        for name in ("train", "val", "test"):
            yield name, getattr(self.data, name)

    def batch(self, split: str = "train", rows: int = ROWS) -> dict[str, torch.Tensor]:
        """Samples from all over a split, as stored."""
        samples: Batch = getattr(self.data, split)
        count = num_rows(samples)
        chosen = torch.linspace(0, count - 1, min(rows, count)).round().long()
        return {name: values[chosen] for name, values in samples.items()}

    def network(self) -> Backbone:
        """A copy of the network, which is built once."""
        return deepcopy(self._network)

    @cached_property
    def _network(self) -> Backbone:
        return self.build()

    def build(self, router: str | None = None, seed: int | None = None) -> Backbone:
        """Build the network, ready to use and in eval; with another router or seed if given."""
        config = self.config
        if router is not None:
            part = {"name": router, **routers.ROUTERS.options(router)}
            config = replace(config, router=part, losses={}, layers={})
        backbone = build_backbone(
            replace(config, seed=config.seed if seed is None else seed), self.task
        )
        prepare_routers(backbone, self.task, self.batch())
        return backbone.eval()

    def ready(self, network: Backbone, batch: Batch) -> Batch:
        """A batch as the network reads it, with ids if a router reads them."""
        batch = self.task.collate(batch)
        needs_ids = any(layer.router.traits.needs_ids for layer in routed_layers(network))
        return self.task.describe(batch) if needs_ids else batch

    def run(self, network: Backbone, batch: Batch) -> tuple[Any, list[Routing], Batch]:
        """Output and routings of stored samples, and the batch that the network read."""
        batch = self.ready(network, batch)
        output, routings = network(batch)
        return output, routings, batch


def subject_of(name: str, overrides: Sequence[str]) -> TaskUnderTest:
    """The task with a configuration; ``ConfigError`` if that cannot work."""
    config = compose([f"task={name}", *overrides])
    config, _, _ = choose(config, build_task(config))
    subject = TaskUnderTest(config)
    try:
        subject.network()
    except ConfigError:  # what does not fit together is no failed check
        raise
    except Exception:  # an error of the task is a result of the checks
        pass
    return subject
