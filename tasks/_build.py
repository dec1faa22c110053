"""From a configuration to the task and its network."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch

import experts
import routers
from experts import MoE
from routers import ConfigError

from ._control import CONTROLS, Call, matched
from ._schema import Config
from ._seeds import mix_seed
from ._task import Backbone, Batch, Layer, Task, tasks


def part(section: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A section as the part's name and its options."""
    options = dict(section)
    return options.pop("name"), options


def build_task(config: Config) -> Task:
    """The task that ``config.task`` names."""
    name, options = part(config.task)
    task: Task = tasks.build(name, **options)
    return task


def build_backbone(config: Config, task: Task) -> Backbone:
    """The task's network with the router and experts of the configuration.

    The same seed gives the same weights to everything that is not routed, whichever router
    and experts are chosen.

    Raises:
        ConfigError: where task, router and experts do not fit together.
    """
    with _seeded(config.seed, 0):
        backbone = task.backbone(_layers(config))
    layers = routed_layers(backbone)
    for layer in layers:
        _check_fits(layer, task, config)
    return backbone


def routed_layers(backbone: Backbone) -> list[MoE]:
    """The routed layers of a network, first layer first."""
    return [module for module in backbone.modules() if isinstance(module, MoE)]


def prepare_routers(backbone: Backbone, task: Task, train: Batch) -> None:
    """Show the routers what the training set holds; only those that read ids look."""
    readers = [layer.router for layer in routed_layers(backbone) if layer.router.traits.needs_ids]
    if not readers:
        return
    ids = task.describe(train)["ids"]
    features = task.features(train).flatten(0, ids.dim() - 1)
    for router in readers:
        router.prepare(ids.flatten(), features)


def build_control(config: Config, task: Task, routed: Backbone, batch: Batch) -> Backbone:
    """The task's network with dense layers that cost what those of ``routed`` cost.

    Args:
        config: with ``moe.control``.
        task: what is learnt.
        routed: the network to match, its routers prepared.
        batch: described training data; costs are those of a pass over it.
    """
    assert config.moe.control is not None
    cost = CONTROLS[config.moe.control]
    layers = routed_layers(routed)
    with _calls(layers) as calls, torch.no_grad():
        routed.eval()(batch)
    pairs = iter(zip(layers, calls, strict=True))
    built = count(1)

    def layer(sample_shape: tuple[int, ...]) -> MoE:
        with _seeded(config.seed, next(built)):
            return matched(*next(pairs), cost, part(config.expert))

    with _seeded(config.seed, 0):
        return task.backbone(layer)


def _layers(config: Config) -> Layer:
    built = count(1)

    def layer(sample_shape: tuple[int, ...]) -> MoE:
        with _seeded(config.seed, next(built)):
            return _layer(config, sample_shape)

    return layer


@contextmanager
def _calls(layers: list[MoE]) -> Iterator[list[Call]]:
    """Collects what each layer is called with."""
    calls: list[Call] = []

    def note(_: MoE, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _layer(config: Config, sample_shape: tuple[int, ...]) -> MoE:
    settings = config.moe
    router_name, router_options = part(config.router)
    expert_name, expert_options = part(config.expert)
    dim = sample_shape[0] if len(sample_shape) == 3 else sample_shape[-1]
    bank = experts.build(expert_name, dim, settings.num_experts, **expert_options)
    if (bank.row_dims == 3) != (len(sample_shape) == 3):
        raise ConfigError(
            f"expert={expert_name}: its rows are ({', '.join(bank.row_axes())}), but this model "
            f"gives samples of shape {sample_shape}; choose an expert or a task.model that fits"
        )
    shared = None
    if settings.shared:
        shared = experts.build(expert_name, dim, settings.shared, **expert_options)
    return MoE(
        routers.build(router_name, dim, settings.num_experts, **router_options),
        bank,
        shared=shared,
        capacity=settings.capacity,
        drop=settings.drop,
        renormalize=settings.renormalize,
        expert_dropout=settings.expert_dropout,
    )


def _check_fits(layer: MoE, task: Task, config: Config) -> None:
    name, traits = config.router["name"], layer.router.traits
    if traits.needs_ids and not task.has_ids:
        raise ConfigError(
            f"router={name}: needs ids, and task={config.task['name']} has none; "
            "choose a task with ids or another router"
        )
    if task.causal and not traits.causal:
        raise ConfigError(
            f"router={name}: its routes depend on later items, and task={config.task['name']} "
            "predicts them; choose a router (and gate) with the trait causal"
        )
    if task.causal and config.moe.capacity is not None and config.moe.drop != "position":
        raise ConfigError(
            f"moe.drop={config.moe.drop}: looks at later items, and task={config.task['name']} "
            "predicts them; use moe.drop=position or moe.capacity=null"
        )


@contextmanager
def _seeded(seed: int, place: int) -> Iterator[None]:
    """Draws inside depend on ``(seed, place)`` alone and leave the caller's generator alone."""
    with torch.random.fork_rng():
        torch.manual_seed(mix_seed(seed, place))
        yield
