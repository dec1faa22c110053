"""Recording of the routings of every layer while a model runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError, Routing
from routers.blocks import uncompiled

from ..layers.moe import MoE


@contextmanager
def record(model: nn.Module) -> Iterator[dict[str, list[Routing]]]:
    """Context manager: record the routing of every ``MoE`` layer of a model, pass by pass.

    The value is a list of routings for each layer by its module name, in the order of
    ``model.modules()``; ``""`` is the name of a model that is itself a layer. Each call of a layer
    adds one routing, detached, on its device; those that activation checkpointing recomputes in the
    backward pass are not added. The hooks are removed at the end, also after an error. Recorders
    do not interfere with each other, nested or in several threads; two of one model record all of
    its passes. Call ``clear`` on the lists to free what was recorded.

    A model compiled by ``torch.compile`` must be recorded in its first call: later ones ignore
    new hooks.

    Raises:
        ConfigError: if the model has no ``MoE`` layer.

    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> model = nn.ModuleDict({"first": layer})
    >>> with record(model) as routes:
    ...     y, _ = model["first"](torch.randn(5, 8))
    >>> [(name, len(found), found[0].num_assignments) for name, found in routes.items()]
    [('first', 1, 10)]
    """
    layers = {name: each for name, each in model.named_modules() if isinstance(each, MoE)}
    if not layers:
        raise ConfigError("the model has no MoE layer, so there are no routes to record")
    routes: dict[str, list[Routing]] = {name: [] for name in layers}
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(Recorder(routes[name])).remove)
        yield routes


class Recorder:
    """A forward hook that adds the routing of each pass to a list."""

    def __init__(self, routings: list[Routing]) -> None:
        self.routings = routings

    @uncompiled
    def __call__(self, layer: MoE, _: Any, output: tuple[Tensor, Routing]) -> None:
        if torch._C._current_graph_task_id() == -1:  # not in a backward pass
            self.routings.append(output[1].detach())
