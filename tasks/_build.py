"""From a configuration to the task and its network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import experts
import routers
from experts import MoE
from routers import ConfigError

from ._control import CONTROLS
from ._schema import Config
from ._seeds import mix_seed
from ._task import Backbone, Layer, Task, tasks


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


def _layers(config: Config) -> Layer:
    built = 0

    def layer(sample_shape: tuple[int, ...]) -> MoE:
        nonlocal built
        built += 1
        with _seeded(config.seed, built):
            moe = _layer(config, sample_shape)
            if config.moe.control is None:
                return moe
            return CONTROLS[config.moe.control](moe, sample_shape, part(config.expert))

    return layer


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
