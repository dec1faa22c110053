"""Collection of routes, batch by batch, into a table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from experts import MoE, MultiGateMoE
from routers import ConfigError, Items, Routing
from routers.comparison import Routes

from .._task import Batch, Task
from ..loading.batches import num_rows
from .table import LayerRoutes, RouteTable

#: Column of content ids, where a task has them.
ID = "id"


class RouteCollection:
    """The routes of batches in their order, and what identifies their items.

    Args:
        task: names labels, ids and content of items.
        network: whose ``MoE`` layers were recorded.
    """

    def __init__(self, task: Task, network: nn.Module) -> None:
        self.task = task
        self.labelings = task.kinds()
        self.layers = moe_layers(network)
        self.samples = 0
        self._parts: dict[str, list[LayerRoutes]] = {name: [] for name in self.layers}

    def add(self, batch: Batch, routings: Mapping[str, Sequence[Routing]]) -> None:
        """Add a collated batch and the routings of each layer, as ``experts.record`` has them.

        Of several passes through a layer the last one counts.
        """
        columns = self._columns(batch)
        rows = num_rows(batch)
        for name, layer in self.layers.items():
            part = self._part(name, layer, routings[name][-1], rows, columns)
            self._parts[name].append(part)
        self.samples += rows

    def table(self, about: Mapping[str, Any]) -> RouteTable:
        """Everything added so far."""
        labels = {each.name: each.names for each in self.labelings}
        layers = tuple(_joined(parts) for parts in self._parts.values() if parts)
        return RouteTable(layers, labels, about)

    def _columns(self, batch: Batch) -> dict[str, Tensor]:
        """Columns that identify samples or items, ``(B,)`` or ``(B, L)`` by name."""
        columns = {each.name: each.of(batch) for each in self.labelings}
        columns |= self.task.content(batch)
        if self.task.has_ids:
            columns[ID] = self.task.describe(batch)["ids"]
        return columns

    def _part(
        self,
        name: str,
        layer: MoE,
        routing: Routing,
        rows: int,
        columns: Mapping[str, Tensor],
    ) -> LayerRoutes:
        items = routing.num_items
        if items % rows:
            raise ConfigError(
                f"layer {name} routed {items} items of {rows} samples: routes are kept only where "
                "every sample has the same number of items, with padding masked"
            )
        real = np.ones(items, dtype=np.bool_)
        if routing.mask is not None:
            real = routing.mask.cpu().numpy()
        each = np.arange(items, dtype=np.int32)
        per_sample = items // rows
        return LayerRoutes(
            name,
            _router_name(layer),
            Routes.of(routing),
            self.samples + (each // per_sample)[real],
            (each % per_sample)[real],
            {
                column: _of_items(values, items)[real]
                for column, values in columns.items()
                if values.numel() <= items and items % values.numel() == 0
            },
        )


def _of_items(values: Tensor, items: int) -> NDArray[np.int64]:
    """Values of samples or items for each item, ``(N,)``."""
    flat = values.detach().flatten().long().cpu()
    spread: NDArray[np.int64] = flat.repeat_interleave(items // len(flat)).numpy()
    return spread


def _router_name(layer: MoE) -> str:
    """The class of a layer's router; of several gates that of the first."""
    router: Any = layer.router
    return type(router.gates[0] if isinstance(layer, MultiGateMoE) else router).__name__


def _joined(parts: Sequence[LayerRoutes]) -> LayerRoutes:
    first = parts[0]
    return LayerRoutes(
        first.name,
        first.router,
        Routes.concatenate([part.routes for part in parts]),
        np.concatenate([part.sample for part in parts]),
        np.concatenate([part.position for part in parts]),
        {
            name: np.concatenate([part.identity[name] for part in parts])
            for name in first.identity
            if all(name in part.identity for part in parts)
        },
    )


def few(split: Batch, samples: int | None) -> Batch:
    """The first samples of a split; all for None."""
    if samples is None:
        return split
    return {name: values[:samples] for name, values in split.items()}


@contextmanager
def routed_items(network: nn.Module) -> Iterator[dict[str, Items]]:
    """Context manager: keep the items of the last pass of each layer, of its first round."""
    kept: dict[str, Items] = {}
    running: list[str] = []  # the layer: several may hold one router

    def begin(name: str, *_: object) -> None:
        running[:] = [name]

    def keep(_: nn.Module, given: tuple[Items]) -> None:
        kept[running[0]] = given[0]

    with ExitStack() as hooks:
        for name, layer in moe_layers(network).items():
            hooks.callback(layer.register_forward_pre_hook(partial(begin, name)).remove)
            hooks.callback(layer.each_router[0].register_forward_pre_hook(keep).remove)
        yield kept


def moe_layers(network: nn.Module) -> dict[str, MoE]:
    """The routed layers of a network by name, in their order."""
    return {name: each for name, each in network.named_modules() if isinstance(each, MoE)}
