"""Routings of the passes of a model, and what its routed layers read in these passes."""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from routers import ConfigError, Routing
from routers.losses import read_losses

from ..layers.moe import MoE

_REENTRANT = "checkpoint with use_reentrant=False"


class Given(NamedTuple):
    """Inputs of routed layers besides their items, as in ``MoE.forward``."""

    mask: Tensor | None = None
    ids: Tensor | None = None
    task: Tensor | None = None
    earlier: tuple[Routing, ...] = ()


class Collection(Mapping[str, list[Routing]]):
    """Routings of routed layers by name, pass by pass, with gradients; ``collect`` makes it.

    Every call of a layer adds one routing to its list. Those that activation checkpointing
    computes again in the backward pass are not added.

    Args:
        names: the name of each routed layer.
        layers: the ``MoE`` of each name.
        given: what all layers read.
    """

    def __init__(self, names: Mapping[Any, str], layers: Mapping[str, MoE], given: Given) -> None:
        self.names = names
        self.layers = layers
        self.given = given
        self._routings: dict[str, list[Routing]] = {name: [] for name in layers}
        self._learns = torch.is_grad_enabled()
        self._without_graph: str | None = None
        self._pass: dict[nn.Module, Routing] = {}  # of the pass so far, in order
        self._read: dict[nn.Module, Given] = {}  # in the last pass

    def __getitem__(self, name: str) -> list[Routing]:
        return self._routings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._routings)

    def __len__(self) -> int:
        return len(self._routings)

    def clear(self) -> None:
        """Remove all routings, such as between two micro-batches."""
        self._without_graph = None
        self._pass.clear()
        for routings in self._routings.values():
            routings.clear()

    def loss(self, losses: Mapping[str, Any] | None = None) -> Tensor:
        """The weighted auxiliary losses of all routings, summed over layers and passes.

        Args:
            losses: weights by name, or mappings of a weight and options, as in a configuration:
                ``{"switch": 0.01, "z": {"weight": 0.001}}``. None for the ``default_losses`` of
                each layer's router.

        Raises:
            ConfigError: for losses that cannot be read, if no layer ran, and if gradients are
                recorded now but were not in a pass, as in checkpoints that are reentrant.
        """
        found = [routing for routings in self.values() for routing in routings]
        if not found:
            raise ConfigError("no routed layer ran inside of this collect; run the model in it")
        if self._without_graph is not None and torch.is_grad_enabled():
            raise ConfigError(
                f"layer {self._without_graph!r} ran without gradients, so that its router cannot "
                f"learn from this loss: {_REENTRANT}, or compute the value in torch.no_grad()"
            )
        total = torch.zeros((), device=found[0].weight.device)
        for name, routings in self.items():
            written = self.layers[name].router.default_losses if losses is None else losses
            for loss in read_losses(written):
                for routing in routings if loss.weight else ():
                    total = total + loss(routing, self.layers[name]).to(total.device)
        return total

    def observe(self, layer: nn.Module, routing: Routing) -> None:
        """Add the routing of a call of a layer."""
        if in_backward():
            return
        self._routings[self.names[layer]].append(routing)
        self._pass[layer] = routing
        if self._learns and not torch.is_grad_enabled():
            self._without_graph = self.names[layer]

    def given_to(self, layer: nn.Module, x: Tensor) -> Given:
        """Inputs of a layer besides ``x``; ``ConfigError`` if shapes do not match.

        They are what was given, and the routings of the same number of items in the layers that
        ran before it; the second call of a layer begins another pass of the model. A layer that
        is computed again for the backward pass reads the same as in its last pass.
        """
        items = self._check_shapes(self.names[layer], x)
        reads = any(value is not None for value in self.given[:3])
        if reads and layer.training and self._learns and not torch.is_grad_enabled():
            raise ConfigError(
                f"layer {self.names[layer]!r} runs without gradients inside of a collect that "
                "began with them, and a later pass could read another mask, ids or task: "
                f"{_REENTRANT}, or put torch.no_grad() around the collect"
            )
        if in_backward():
            return self._read.get(layer, self.given)
        if layer in self._pass:
            self._pass.clear()
        earlier = tuple(each for each in self._pass.values() if each.num_items == items)
        self._read[layer] = self.given._replace(earlier=earlier)
        return self._read[layer]

    def _check_shapes(self, name: str, x: Tensor) -> int:
        """The number of items in ``x``; ``ConfigError`` if what was given is not of their shape."""
        axes = self.layers[name].bank.row_axes
        lead = x.shape[:-1] if len(axes) == 1 else x.shape[:1]
        inner = x.shape[:2] if axes == ("L", "D") else lead
        fitting = {"mask": (lead, inner), "ids": (lead,), "task": (lead, x.shape[:1])}
        for key, shapes in fitting.items():
            value: Tensor | None = getattr(self.given, key)
            if value is not None and value.shape not in shapes:
                raise ConfigError(
                    f"{key} has shape {tuple(value.shape)}, and layer {name!r} routes items of "
                    f"shape {tuple(lead)}; give a {key} of that shape to experts.collect, or none"
                )
        return lead.numel()


def in_backward() -> bool:
    """Whether this thread runs a backward pass, in which activations are computed again."""
    return torch._C._current_graph_task_id() != -1


#: The collections that are open in this thread, the innermost last.
_OPEN: ContextVar[tuple[Collection, ...]] = ContextVar("collections", default=())


def open_collection(layer: nn.Module) -> Collection | None:
    """The innermost collection of a model with this layer."""
    return next((each for each in reversed(_OPEN.get()) if layer in each.names), None)
