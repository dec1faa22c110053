"""What a model costs: parameters, active parameters, FLOPs; counted, not estimated."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from experts import MoE, count_flops, expert_flops
from routers import Balance, Routing

from ._build import routed_layers
from ._control import num_parameters
from ._module import RoutedModule
from ._task import Batch


@dataclass(frozen=True)
class Compute:
    """The cost of a model.

    Attributes:
        parameters: all of them.
        active_parameters: those that work on an item, on average: of each expert's own
            parameters the share of items it reaches, and all others.
        router_parameters: those of the routers.
        flops_per_item: forward FLOPs per sample (a multiply-add is 2), averaged over the
            samples evaluated: a counted pass for all but the experts, and for these their
            price times the load they had.
    """

    parameters: int
    active_parameters: float
    router_parameters: int
    flops_per_item: float


@torch.no_grad()
def measure(module: RoutedModule, batch: Batch, samples: int) -> Compute:
    """The cost of a module that has just been evaluated.

    Args:
        module: its ``layers`` hold the balance of the evaluation.
        batch: samples to count a pass on.
        samples: how many were evaluated.
    """
    module.eval()
    layers = routed_layers(module.backbone)
    routings: list[Routing] = []
    with _row_shapes(layers) as shapes:
        described = module.described(batch)
        counted = count_flops(lambda: routings.extend(module.backbone(described)[1]))
    by_experts = sum(
        expert_flops(routing, layer.bank, shape)
        for layer, routing, shape in zip(layers, routings, shapes, strict=True)
    )
    evaluated = sum(
        load * price
        for layer, balance, shape in zip(layers, module.layers, shapes, strict=True)
        for load, price in zip(balance.load, layer.bank.flops(shape), strict=True)
    )
    total = num_parameters(module.backbone)
    idle = sum(map(_idle_parameters, layers, module.layers, routings))
    return Compute(
        parameters=total,
        active_parameters=total - idle,
        router_parameters=sum(num_parameters(layer.router) for layer in layers),
        flops_per_item=(counted - by_experts) / len(batch["y"]) + evaluated / samples,
    )


def _idle_parameters(layer: MoE, balance: Balance, routing: Routing) -> float:
    """Parameters of a layer's experts that do not work on an item, on average."""
    if routing.blend is not None:  # every item takes something of every slot
        return 0.0
    return sum(
        count * (1 - load / balance.items)
        for count, load in zip(layer.bank.parameters_per_expert(), balance.load, strict=True)
    )


@contextmanager
def _row_shapes(layers: list[MoE]) -> Iterator[list[tuple[int, ...]]]:
    """Collects the shape of the rows each layer's bank is given."""
    shapes: list[tuple[int, ...]] = []

    def note(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        shapes.append(tuple(args[0].shape[1:]))

    handles = [layer.bank.register_forward_pre_hook(note) for layer in layers]
    try:
        yield shapes
    finally:
        for handle in handles:
            handle.remove()
