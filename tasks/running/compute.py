"""Cost of a model, counted: parameters, active parameters and FLOPs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from experts import Bank, MoE, NoOpBank, count_flops, count_flops_of, skip_experts
from routers import Routing

from .._task import Backbone, Batch
from ..assembly.build import routed_layers
from ..assembly.dense_control import num_parameters
from ..loading.batches import InOrder
from ..training.parameter_names import trained_parameters

if TYPE_CHECKING:
    from ..training.module import RoutedModule


@dataclass(frozen=True)
class Compute:
    """The cost of a model.

    Attributes:
        parameters: all of them.
        active_parameters: those that work on an item, on average: of each expert's own
            parameters the share of items it reaches, and all others.
        router_parameters: those of the routers.
        trained_parameters: those that are not frozen.
        flops_per_item: forward FLOPs per sample (a multiply-add is 2), averaged over the
            samples evaluated: a counted pass for all but the experts, and for these their
            price times the load they had; rows of padding are not counted.
        router_flops_per_item: those of them that routers take.
    """

    parameters: int
    active_parameters: float
    router_parameters: int
    trained_parameters: int
    flops_per_item: float
    router_flops_per_item: float


@dataclass(frozen=True)
class TrainingCompute:
    """The cost of a training as measured, without its validations unless noted.

    Attributes:
        train_seconds: wall-clock time.
        items_per_second: training samples per second.
        step_seconds: median time of an optimizer step, over the last 1,000; None without steps.
        peak_memory_bytes: on CUDA the most memory that tensors held on the first device, on a CPU
            the most that was resident in the first process, both with validations; None where
            it is unknown.
        cpu_energy_joules: energy of all processor packages of the first machine, whatever else
            they did; None where it is unknown.
        gpu_energy_joules: energy of the GPUs that the run uses on the first machine; None where it
            is unknown, and on a CPU.
    """

    train_seconds: float
    items_per_second: float
    step_seconds: float | None
    peak_memory_bytes: int | None
    cpu_energy_joules: float | None
    gpu_energy_joules: float | None


@torch.no_grad()
def measure(module: "RoutedModule", batches: InOrder) -> Compute:
    """The cost of a module that has just been evaluated on ``batches``.

    One batch of every shape is counted: outside the experts the work depends on nothing else.
    The load is that of ``module.evaluation.layers``.
    """
    module.eval()
    layers = routed_layers(module.backbone)
    shapes, examples = Counter[Any](), dict[Any, Batch]()  # by names and shapes of tensors
    for batch in map(module.prepare_batch, batches):
        shape = tuple((name, tuple(values.shape)) for name, values in batch.items())
        shapes[shape] += 1
        examples[shape] = batch
    outside = in_routers = 0
    for shape, times in shapes.items():
        routings, resting, counted, of_routers = _pass(module, layers, examples[shape])
        outside += times * counted
        in_routers += times * of_routers
    by_experts = sum(
        layer.expert_flops(metrics["load"], metrics["items"], bank.row_shape)
        for layer, metrics, bank in zip(layers, module.evaluation.layers, resting, strict=True)
    )
    total = num_parameters(module.backbone)
    loads = [(metrics["load"], metrics["items"]) for metrics in module.evaluation.layers]
    return Compute(
        parameters=total,
        active_parameters=total - _idle_parameters(layers, loads, routings),
        router_parameters=num_parameters(nn.ModuleList(layer.router for layer in layers)),
        trained_parameters=sum(p.numel() for _, p in trained_parameters(module.backbone)),
        flops_per_item=(outside + by_experts) / batches.rows,
        router_flops_per_item=in_routers / batches.rows,
    )


def _pass(
    module: "RoutedModule", layers: list[MoE], batch: Batch
) -> tuple[list[Routing], list[NoOpBank], int, int]:
    """Routings of a pass, what stood in for the experts, FLOPs of all else and of routers."""
    routings: list[Routing] = []
    in_routers: list[int] = []
    routers = dict.fromkeys(
        router for layer in layers for router in layer.each_router
    )  # layers may share one

    def forward() -> None:
        routings.extend(module.backbone(batch)[1])

    with skip_experts(layers) as resting:
        counted = count_flops(lambda: in_routers.append(count_flops_of(routers, forward)))
    return routings, resting, counted, in_routers[0]


def active_parameters(backbone: Backbone, routings: Sequence[Routing]) -> float:
    """Parameters that work on an item of these routings, on average."""
    loads = [(each.load.tolist(), max(1, int(each.num_real))) for each in routings]
    layers = routed_layers(backbone)
    return num_parameters(backbone) - _idle_parameters(layers, loads, routings)


def _idle_parameters(
    layers: Sequence[MoE], loads: Iterable[tuple[Sequence[int], int]], routings: Sequence[Routing]
) -> float:
    """Parameters of experts that do not work on an item, on average; a layer has load and items.

    Experts that several layers or rounds share have the sum of their loads, at most one row of an
    item. Every item takes part of every slot or expert in routings that have no drops.
    """
    shares: dict[Bank, list[list[float]]] = {}  # of items, by bank and layer
    for layer, (load, items), routing in zip(layers, loads, routings, strict=True):
        if routing.supports_dropping:
            shares.setdefault(layer.bank, []).append([rows / items for rows in load])
    return sum(
        count * max(0.0, 1 - sum(share))  # above 1 in several rounds or layers
        for bank, by_layer in shares.items()
        for count, share in zip(
            bank.parameters_per_expert(), zip(*by_layer, strict=True), strict=True
        )
    )
