"""Routes of another run's network in the layers of this one: ``router=replay router.of=DIR``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from experts import MoE, record
from routers import ConfigError, Items, Router, Routing
from routers.blocks import check_recorded
from routers.plugins import option_errors_under
from routers.replay import Replay, check_gate_learns

from .._task import Backbone, Batch, Data, Task
from ..assembly.build import routed_layers
from ..config.compose import user_path
from ..config.layers import LayerSettings, settings_of
from ..config.schema import Config
from ..routes.collection import few
from .stored import Built, check_same_data, filled, stored_config


def replay_runs(
    config: Config,
    backbone: Backbone,
    task: Task,
    data: Data,
    build: Callable[[Config], Built],
) -> None:
    """Let the layers with the router ``replay`` follow the runs that it names.

    Before each pass of ``backbone`` the network of such a run routes the same batch, in evaluation
    and without gradients; layer ``n`` then has the routes of its layer ``n``. It is no part of
    ``backbone``, whose device and type it takes, and its FLOPs are not counted.

    Args:
        config: of the run.
        backbone: its network.
        task: its task.
        data: its data.
        build: makes the run of a configuration.

    Raises:
        ConfigError: if there is no such run, or its routes do not fit to these layers or this data.
    """
    runs: dict[str, ReplayedRun] = {}
    for number, layer in enumerate(routed_layers(backbone)):
        if not (replays := replays_of(layer)):
            continue
        settings, place = settings_of(config, number), str(replays[0].of)
        about = f"{settings.key('router.of')}={place}"
        if place not in runs:
            other = load_other(about, place, config, data, build)
            batch = same_batch(about, config, task, data, other)
            runs[place] = ReplayedRun(other.module.backbone)
            runs[place].record(backbone, (batch,))
            backbone.register_forward_pre_hook(runs[place].record)
        runs[place].check(number, layer, settings, about)
        layer.router.register_forward_pre_hook(partial(runs[place].give, number, about))


def replays_of(layer: MoE) -> list[Replay]:
    """The routers of a layer that replay routes: several gates, or one inside of another router."""
    return [module for module in layer.router.modules() if isinstance(module, Replay)]


def load_other(
    about: str, place: str, config: Config, data: Data, build: Callable[[Config], Built]
) -> Built:
    """The trained run in a folder; ``ConfigError`` if it is of another task, or on other data."""
    try:
        other = stored_config(user_path(place))
        check_task(config, other)
        threads = torch.get_num_threads()  # those of this run
        other.trainer = replace(
            other.trainer, devices=1, num_nodes=1, accelerator="cpu", threads=threads
        )
        run = filled(build, other, user_path(place))
        check_same_data(run.data, data, "replay a run on the same data")
    except ConfigError as error:
        raise ConfigError(f"{about}: {error}") from error
    return run


def check_task(config: Config, other: Config) -> None:
    """Raise ``ConfigError`` if the other run is of another task, or has no routes."""
    was, now = other.task["name"], config.task["name"]
    if was != now:
        raise ConfigError(
            f"was trained on task={was}, and this run is of task={now}; replay a run of the same"
        )
    if other.moe.control is not None:
        raise ConfigError(
            f"is a dense control (moe.control={other.moe.control}) and has no routes; replay a run "
            "with moe.control=null"
        )


def same_batch(about: str, config: Config, task: Task, data: Data, other: Built) -> Batch:
    """The first training samples as the other network takes them.

    ``ConfigError`` if this run prepares them otherwise.
    """
    samples = config.trainer.batch_size
    its = other.module.prepare_batch(few(other.data.train, samples))
    own = task.collate(few(data.train, samples))
    own = task.describe(own) if other.module.needs_ids else own
    if differ := unequal(own, its):
        raise ConfigError(
            f"{about}: its task prepares other batches, which differ in {', '.join(differ)}; "
            "replay a run with the same settings of task"
        )
    return own


def unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of values that two batches do not have in common."""
    both = one.keys() & other.keys()
    differ = {name for name in both if not torch.equal(one[name], other[name])}
    return sorted(differ | (one.keys() ^ other.keys()))


class ReplayedRun:
    """Hooks that route the batches of a network by the network of another run.

    Args:
        network: of the other run, trained.
    """

    def __init__(self, network: Backbone) -> None:
        self.network = network.eval()
        #: Of the last batch, by layer; kept for layers that are computed again in backward passes.
        self.routes: list[Routing] = []

    def record(self, backbone: Backbone, args: tuple[Batch]) -> None:
        """Forward pre-hook of a backbone: record the routes of its batch."""
        like = next(backbone.parameters())
        self.network.to(like.device, like.dtype)
        with torch.no_grad(), _disable_current_modes(), record(self.network) as routes:
            self.network(*args)
        self.routes = [passes[-1] for passes in routes.values()]

    def check(self, number: int, layer: MoE, settings: LayerSettings, about: str) -> None:
        """Raise ``ConfigError`` unless a layer can replay the routes of the last batch."""
        if number >= len(self.routes):
            raise ConfigError(
                f"{about}: has {len(self.routes)} routed layers, and layer {number} here replays "
                f"its own; replay a run of the same depth, or only layers that it has"
            )
        routing = self.routes[number]
        check_recorded(routing, layer.router.num_experts, f"{about}: layer {number}")
        if routing.num_experts < 2:
            raise ConfigError(f"{about}: its layer {number} has one expert, so there is no route")
        with settings.errors(), option_errors_under("router"):
            for replay in replays_of(layer):
                check_gate_learns(replay.weighting, routing.gates or [routing])
        reader = any(each.router.traits.needs_ids for each in routed_layers(self.network))
        layer.router.set_traits(needs_ids=layer.router.traits.needs_ids or reader)

    def give(self, number: int, about: str, router: Router, args: tuple[Items]) -> tuple[Items]:
        """Forward pre-hook of a router: add the routes of the batch to its items."""
        [items] = args
        routing = self.routes[number]
        if routing.num_items != items.num_items:
            raise ConfigError(
                f"{about}: its layer {number} routes {routing.num_items} items of a batch, and the "
                f"layer here {items.num_items}; replay a network that splits samples alike"
            )
        return (replace(items, recorded=routing),)
