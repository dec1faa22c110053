"""Construction of the task and its network from a configuration."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

import experts
import routers
from experts import (
    Bank,
    GateTopology,
    Latent,
    MoE,
    MultiGateMoE,
    RoundsMoE,
    RoutedAttention,
    SubTokenMoE,
    SwitchHead,
)
from routers import ConfigError, OptionError, Router
from routers.plugins import check_options, option_errors_under
from routers.replay import Replay

from .._task import TASKS, Backbone, Batch, Data, Layer, Task, keys_complete
from ..config.layers import LayerSettings, check_selectors, settings_of
from ..config.named_part import split_part
from ..config.schema import Config
from ..loading.batches import InOrder
from ..loading.seeds import mix_seed
from .dense_control import CONTROLS, Call, matched
from .sharing import share_parts

#: Maps the number of experts to the experts that each gate can choose.
Wiring = Callable[[int], GateTopology]

#: Maps the number of experts to experts that are copies of a module.
Copies = Callable[[int], Bank]

#: Words in errors of torch and NumPy about sizes beyond the memory or the integer range.
_MEMORY_SIGNS = ("allocate", "Storage size", "Overflow", "Maximum allowed dimension", "too big")

_SMALLER_MODEL = "lower moe.num_experts, expert.hidden or the width and depth of the network"


def part(section: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split a section into the name of the part and its options."""
    options = dict(section)
    return options.pop("name"), options


def build_task(config: Config, same_data: Mapping[str, Any] = {}) -> Task:
    """Build the task that ``config.task`` names; options that are ``auto`` have their defaults.

    So have those that fit only to options which the data still has to choose.
    Some tasks read their data for it. ``same_data`` is that of a task which has read it already.
    """
    name, options = part(config.task)
    auto = {key.removeprefix("task.") for key in config.auto if key.startswith("task.")}
    coupled = TASKS.get_part(name).coupled if auto else ()
    if auto.intersection(coupled):
        auto |= set(coupled)
    known = {key: value for key, value in options.items() if key not in auto}
    with enough_memory_for_data(config):
        task: Task = TASKS.build(name, **{**known, **same_data})
    return task


def read_data(config: Config, task: Task) -> Data:
    """The data of the task; ``ConfigError`` if it does not fit in memory."""
    with enough_memory_for_data(config):
        return task.data()


def enough_memory_for_data(config: Config) -> AbstractContextManager[None]:
    """Turn errors about memory, while data is read, into a ``ConfigError``."""
    what = f"the data of task={config.task['name']}"
    return _enough_memory(what, "lower the sizes among the options of the task, or give less data")


def build_backbone(config: Config, task: Task) -> Backbone:
    """Build the network of the task with the router and experts of the configuration.

    With the same seed, all layers that are not routed have the same weights for every choice of
    router and experts. ``ConfigError`` is raised if these do not fit together or in memory.
    """
    if "expert" in config.auto:
        cure = "config, task, _ = tasks.choose(config, task)"
        raise ConfigError(f"expert=auto: the data has to choose it first: {cure}")
    with _enough_memory(), _seeded(config.seed, 0), option_errors_under("task"):
        backbone = task.backbone(_layers(config))
    layers = routed_layers(backbone)
    check_selectors(config, len(layers))
    for number, layer in enumerate(layers):
        _check_fits(layer, task, settings_of(config, number), config.task["name"])
    return backbone


def routed_layers(backbone: Backbone) -> list[MoE]:
    """The routed layers of a network, in their order."""
    return [module for module in backbone.modules() if isinstance(module, MoE)]


def prepare_routers(backbone: Backbone, task: Task, train: Batch) -> None:
    """Show the training set to the routers that read ids."""
    show_ids(backbone, read_ids(backbone, task, train))


def read_ids(backbone: Backbone, task: Task, train: Batch) -> tuple[Tensor, ...]:
    """Ids and features of all items but padding, ``(M,)`` and ``(M, F)``; () if no router reads."""
    if not _readers(backbone):
        return ()
    parts = zip(*(_real_ids(task, batch) for batch in InOrder(train, 1024)), strict=True)
    return tuple(torch.cat(part) for part in parts)


def show_ids(backbone: Backbone, seen: tuple[Tensor, ...]) -> None:
    """Prepare the routers that read ids by what ``read_ids`` returned."""
    for router in _readers(backbone):
        router.prepare(*seen)


def _readers(backbone: Backbone) -> list[Router]:
    found = (layer.router for layer in routed_layers(backbone))
    return [router for router in found if router.traits.needs_ids]


def _real_ids(task: Task, batch: Batch) -> tuple[Tensor, Tensor]:
    """Ids and features of all items but padding, ``(M,)`` and ``(M, F)``."""
    batch = task.describe(task.collate(batch))
    ids, features = batch["ids"], task.features(batch)
    mask = batch.get("mask")
    if mask is None or mask.shape != ids.shape:
        return ids.flatten(), features.flatten(0, ids.dim() - 1)
    return ids[mask], features[mask]


def build_control(config: Config, task: Task, routed: Backbone, batch: Batch) -> Backbone:
    """Build the network of the task with dense layers that cost as much as those of ``routed``.

    Routers of ``routed`` are prepared; costs are those of a pass over ``batch``, prepared training
    data. ``ConfigError`` if nothing is routed, or nothing costs as much.
    """
    assert config.moe.control is not None
    cost = CONTROLS[config.moe.control]
    layers = routed_layers(routed)
    if not layers:
        raise ConfigError(
            f"moe.control={config.moe.control}: the network of task={config.task['name']} has no "
            "routed layer to replace; remove it, or choose options of the task that route"
        )
    if any(isinstance(each, RoutedAttention) for each in layers):
        raise ConfigError(
            f"moe.control={config.moe.control}: no dense layer is matched to routed "
            "attention; compare with a run of task.model.attention=dense"
        )
    calls: list[Call] = []
    with ExitStack() as hooks, torch.no_grad():
        for each in layers:
            note = each.register_forward_pre_hook(
                lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
            )
            hooks.enter_context(note)
        routed.eval()(batch)
    pairs = iter(zip(layers, calls, strict=True))
    built = count()

    def layer(
        sample_shape: tuple[int, ...], wiring: Wiring | None = None, bank: Copies | None = None
    ) -> MoE:
        settings = settings_of(config, number := next(built))
        if bank is not None:
            raise ConfigError(
                f"moe.control={config.moe.control}: experts that are copies of a dense module have "
                "no dense layer of another width to compare with; use task.model.upcycle=false"
            )
        dense = None if wiring is None else wiring(settings.moe.num_experts).dense()
        around = partial(build_layer, router=("uniform", {"k": 1}), wiring=dense)
        with _seeded(config.seed, 1 + number), keys_complete(), settings.errors():
            return matched(*next(pairs), cost, part(settings.expert), around)

    with _seeded(config.seed, 0), option_errors_under("task"):
        return task.backbone(layer)


def _layers(config: Config) -> Layer:
    built, before = count(), list[tuple[MoE, LayerSettings]]()

    def layer(
        sample_shape: tuple[int, ...], wiring: Wiring | None = None, bank: Copies | None = None
    ) -> MoE:
        settings = settings_of(config, number := next(built))
        moe = settings.moe
        topology = None if wiring is None else wiring(moe.num_experts)
        with _seeded(config.seed, 1 + number), keys_complete(), settings.errors():
            name, options = part(settings.expert)
            image = len(sample_shape) == 3
            dim = sample_shape[0] if image else sample_shape[-1]
            if dim % moe.sub_tokens:
                raise OptionError("moe.sub_tokens", moe.sub_tokens, f"a divisor of the width {dim}")
            if bank is not None:
                _check_copies(settings)
            dim //= moe.sub_tokens
            latent = _latent(moe.latent, dim)
            width = dim if latent is None else latent.width
            held = (bank or partial(experts.build, name, width, **options))(moe.num_experts)
            if len(held.row_axes) > len(sample_shape) or (len(held.row_axes) == 3) != image:
                rows = f"its rows are ({', '.join(held.row_axes)})"
                raise ConfigError(
                    f"{settings.key('expert')}={name}: {rows}, but this model gives samples of "
                    f"shape {sample_shape}; choose an expert or a task.model that fits"
                )
            if held.out_dim != width:
                expected = f"null: a network adds outputs to inputs, which have the width {width}"
                raise OptionError(f"{settings.key('expert')}.outputs", held.out_dim, expected)
            made = build_layer(
                held,
                router=part(settings.router),
                wiring=topology,
                rounds=moe.rounds,
                sub_tokens=moe.sub_tokens,
                shared=_shared(settings, dim),
                latent=latent,
                capacity=moe.capacity,
                drop=moe.drop,
                renormalize=moe.renormalize,
                rounding=moe.rounding,
                expert_dropout=moe.expert_dropout,
                skip=moe.skip,
            )
            share_parts(made, settings, before)
            before.append((made, settings))
            return made

    return layer


def _check_copies(settings: LayerSettings) -> None:
    """Raise ``ConfigError`` for settings under which copies of a module are not what it was."""
    moe = settings.moe
    plain = {"shared": 0, "latent": None, "rounds": 1, "sub_tokens": 1}
    for name, value in plain.items():
        given = getattr(moe, name)
        if given != value:
            raise ConfigError(
                f"{settings.key(f'moe.{name}')}={given}: experts that are copies of a module give "
                f"its output together; use moe.{name}={'null' if value is None else value} or "
                "task.model.upcycle=false"
            )


def _latent(given: Any, dim: int) -> Latent | None:
    """The maps to the width in which experts work; None if that is ``dim``."""
    if given is None:
        return None
    options = dict(given) if isinstance(given, Mapping) else {"width": given}
    options = {"width": 0, **options}
    check_options("moe.latent", Latent, options, skip=1)
    with option_errors_under("moe.latent"):
        return Latent(dim, **options)


def _shared(settings: LayerSettings, dim: int) -> Bank | None:
    """The experts of a layer that every item passes through, if there are any."""
    moe, given = settings.moe, settings.expert
    if moe.shared_expert is not None:
        if not moe.shared:
            expected = "null without shared experts; set moe.shared=1"
            raise OptionError("moe.shared_expert", moe.shared_expert, expected)
        name, options = split_part("moe.shared_expert", moe.shared_expert)
        try:
            experts.EXPERTS.check_options(name, options)
            return experts.build(name, dim, moe.shared, **options)
        except ConfigError as error:
            raise ConfigError(f"moe.shared_expert: {error}") from error
    name, options = part(given)
    return experts.build(name, dim, moe.shared, **options) if moe.shared else None


def build_layer(
    bank: Bank,
    *,
    router: tuple[str, dict[str, Any]],
    wiring: GateTopology | None,
    rounds: int = 1,
    sub_tokens: int = 1,
    **settings: Any,
) -> MoE:
    """Build the layer around ``bank``, with a router, or a router per gate.

    Args:
        bank: the experts.
        router: name and options of the router, or of the router of every gate.
        wiring: the experts that each gate can choose, and its input; None for one gate over all.
        rounds: number of rounds, with a router each.
        sub_tokens: parts of an item that are routed one by one.
        settings: keyword arguments of ``MoE``.

    >>> build_layer(experts.build("mlp", 8, 4), router=("topk", {"k": 2}), wiring=None).num_gates
    1
    """
    (name, options), latent = router, settings.get("latent")
    dim = bank.dim if latent is None else latent.dim
    several = {"moe.rounds": rounds, "moe.sub_tokens": sub_tokens}
    given = [f"{key}={number}" for key, number in several.items() if number > 1]
    if len(given) + (wiring is not None) > 1:
        others = " and ".join([*given, *(["several gates"] if wiring else [])])
        raise ConfigError(f"{others} have no layer together; set all but one of them to 1")
    if wiring is None:
        built = [routers.build(name, dim, bank.num_experts, **options) for _ in range(rounds)]
        if sub_tokens > 1:
            return SubTokenMoE(built[0], bank, heads=sub_tokens, **settings)
        if rounds > 1:
            return RoundsMoE(built, bank, **settings)
        return MoE(built[0], bank, **settings)
    gates = [routers.build(name, dim, len(branch.experts), **options) for branch in wiring.branches]
    return MultiGateMoE(gates, bank, wiring, **settings)


def _check_fits(layer: MoE, task: Task, settings: LayerSettings, task_name: str) -> None:
    router = f"{settings.key('router')}={settings.router['name']}"
    expert = f"{settings.key('expert')}={settings.expert['name']}"
    traits, moe = layer.router.traits, settings.moe
    if isinstance(layer, SwitchHead) and moe.share_router > 1:
        expected = "1: each value and each output of switch_head has a router that is not shared"
        raise OptionError(settings.key("moe.share_router"), moe.share_router, expected)
    if traits.needs_ids and not task.has_ids:
        raise ConfigError(
            f"{router}: needs ids, and task={task_name} has none; "
            "choose a task with ids or another router"
        )
    if traits.needs_task and not task.has_tasks:
        raise ConfigError(
            f"{router}: needs the task, language or domain of each sample, and "
            f"task={task_name} has none; choose a task that has, or another router"
        )
    replayed = [each for each in layer.router.modules() if isinstance(each, Replay)]
    if any(each.of is None for each in replayed):
        raise ConfigError(
            f"{router}: needs recorded routes, and {settings.key('router.of')} is missing; give "
            "the folder of the run whose routes are replayed, router.of=DIR"
        )
    if isinstance(layer, RoutedAttention):
        _check_heads(settings)
    if task.causal and not (traits.causal or traits.causal_in_eval):
        raise ConfigError(
            f"{router}: its routes depend on later items, and task={task_name} "
            "predicts them; choose a router (and gate) with the trait causal"
        )
    if task.causal and len(layer.bank.row_axes) > 1:
        raise ConfigError(
            f"{expert}: works on whole sequences, later items included, and task={task_name} "
            "predicts them; choose an expert of single tokens"
        )
    if task.causal and moe.capacity is not None and moe.drop != "position":
        raise ConfigError(
            f"{settings.key('moe.drop')}={moe.drop}: looks at later items, and task={task_name} "
            "predicts them; use moe.drop=position or moe.capacity=null"
        )


def _check_heads(settings: LayerSettings) -> None:
    """Raise ``OptionError`` for shared experts, since each layer of heads has projections."""
    if (given := settings.moe.share_bank) > 1:
        raise OptionError("moe.share_bank", given, "1 with routed attention")


@contextmanager
def _seeded(seed: int, place: int) -> Iterator[None]:
    """Seed random draws inside by ``(seed, place)``; the generator outside is left unchanged."""
    with torch.random.fork_rng(devices=[]):  # networks are made on the CPU; no GPU is touched
        torch.default_generator.manual_seed(mix_seed(seed, place))
        yield


@contextmanager
def _enough_memory(what: str = "the model", cure: str = _SMALLER_MODEL) -> Iterator[None]:
    """Turn errors of torch and NumPy about memory into a ``ConfigError``."""
    try:
        yield
    except ConfigError:
        raise
    except (RuntimeError, MemoryError, TypeError, ValueError) as error:
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not short and not any(sign in str(error) for sign in _MEMORY_SIGNS):
            raise
        raise ConfigError(f"{what} does not fit in memory; {cure}") from error
