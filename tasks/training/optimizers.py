"""Optimizers by name, their groups of parameters, and their learning rate."""

import inspect
import math
from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from routers import ConfigError, OptionError
from routers.plugins import Registry, check_options, unknown_option

from ..config.open_sections import OPEN_SECTIONS
from ..config.schema import OptimizerConfig
from .muon import Muon
from .parameter_names import select, trained_parameters
from .schedules import build_schedule

OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer.name", Optimizer, group="switchyard.optimizers", positional=1
)

#: Optimizers of torch that cannot train here: one evaluates the loss several times a step, one
#: needs sparse gradients. Its Muon takes matrices only.
_LEFT_OUT = (Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam, torch.optim.Muon)

OPTIMIZERS.register("muon")(Muon)
for _class in vars(torch.optim).values():
    if inspect.isclass(_class) and issubclass(_class, Optimizer) and _class not in _LEFT_OUT:
        OPTIMIZERS.register(_class.__name__.lower())(_class)


def _fused(given: Mapping[str, Any]) -> bool:
    return not given.get("foreach") and not given.get("differentiable")


#: Defaults that differ from those of torch, by the options that are given: what torch refuses next
#: to one of these is left out.
_DEFAULTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "adamw": lambda given: {"fused": _fused(given)},
    "sgd": lambda given: {
        "momentum": 0.9,
        "nesterov": given.get("momentum", 0.9) > 0 and not given.get("dampening"),
        "fused": _fused(given),
    },
}


def check_unchosen(config: OptimizerConfig) -> None:
    """Raise ``ConfigError`` for a schedule or an option that no optimizer can have.

    The rest is checked by ``check_optimizer``, once the data has chosen the optimizer.
    """
    build_schedule(config.schedule)
    known = {option for name in OPTIMIZERS for option in OPTIMIZERS.options(name)}
    for name in config.options:
        if name not in known:
            raise _unknown(name, known)


def check_optimizer(config: OptimizerConfig) -> None:
    """Raise ``ConfigError`` for an unknown optimizer, schedule or option of either."""
    optimizer: Any = OPTIMIZERS.get_part(config.name)
    build_schedule(config.schedule)
    known = OPTIMIZERS.options(config.name)
    for name in config.options:
        if name not in known:
            others = [each for each in OPTIMIZERS if name in OPTIMIZERS.options(each)]
            if not others:
                raise _unknown(name, known.keys())
            problem = f": optimizer.name={config.name} has no such option"
            cure = f"remove it, or name an optimizer that has it: {', '.join(others)}"
            raise OptionError.about(f"optimizer.{name}", f"{problem}; {cure}")
    check_options("optimizer", optimizer, {"lr": config.lr, **config.options}, skip=1)
    if "weight_decay" not in known and config.weight_decay:
        expected = f"0: optimizer.name={config.name} has no weight decay"
        raise OptionError("optimizer.weight_decay", config.weight_decay, expected)
    for pattern, options in config.groups.items():
        key = f"optimizer.groups.{pattern}"
        if not isinstance(options, dict) or not options:
            raise OptionError(key, options, "options of the optimizer, such as {lr: 1e-3}")
        check_options(key, optimizer, {**config.options, "lr": config.lr, **options}, skip=1)
        for name, low in (("lr", "> 0"), ("weight_decay", ">= 0")):
            value = options.get(name, 1.0)
            if not 0 <= value < math.inf or (value == 0 and name == "lr"):
                raise OptionError(f"{key}.{name}", value, f"a finite number {low}")


def _unknown(name: str, known: Set[str]) -> OptionError:
    own = OPEN_SECTIONS["optimizer"].own
    return unknown_option("optimizer", name, [*sorted(own), *sorted(known - own)])


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> Optimizer:
    """Build the optimizer; ``ConfigError`` if an option or a group cannot work.

    Vectors (norms, biases, temperatures) have no weight decay, except in a group that sets one.
    """
    left = dict(trained_parameters(module))
    groups = []
    for pattern, options in config.groups.items():
        key = f"optimizer.groups.{pattern}"
        chosen = {n: left.pop(n) for n in select(module, pattern, key) if n in left}
        if not chosen:
            raise OptionError.about(
                key, ": selects only parameters of earlier groups, or frozen ones; put it first"
            )
        groups.append({"params": [*chosen.items()], "pattern": pattern, **options})
    by_rank = {True: config.weight_decay, False: 0.0}  # of matrices, of vectors
    parts = []
    for group in [{"params": [*left.items()]}, *groups]:
        for is_matrix, decay in by_rank.items():
            params = [each for each in group["params"] if (each[1].dim() > 1) == is_matrix]
            # a fused step takes parameters that are sharded over the same mesh of devices
            meshes = dict.fromkeys(getattr(value, "device_mesh", None) for _, value in params)
            for mesh in meshes:
                own = [each for each in params if getattr(each[1], "device_mesh", None) == mesh]
                parts.append({"weight_decay": decay, **group, "params": own})
    preset = _DEFAULTS[config.name](config.options) if config.name in _DEFAULTS else {}
    if any(hasattr(value, "to_local") for _, value in trained_parameters(module)):
        preset.pop("fused", None)  # not every fused step takes sharded parameters
    given = {**preset, **config.options}
    make: Callable[..., Optimizer] = OPTIMIZERS.get_part(config.name)
    try:
        optimizer = make(parts, lr=config.lr, **given)
    except (ValueError, TypeError, RuntimeError) as error:
        options = "".join(f" optimizer.{name}={value}" for name, value in given.items())
        raise ConfigError(f"optimizer.name={config.name}{options}: {error}") from error
    # fused optimizers can unscale gradients in their step, but clipping needs unscaled ones before
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    optimizer.register_load_state_dict_post_hook(_give_axes)
    return optimizer


#: Optimizer states with a value per element of a parameter.
_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


def _give_axes(optimizer: Optimizer) -> None:
    """Give states of older checkpoints the axis of parameters that were of shape ``()``."""
    for parameter, state in optimizer.state.items():
        for name in state.keys() & set(_MOMENTS):
            if isinstance(state[name], torch.Tensor) and not state[name].dim():
                state[name] = state[name].view(parameter.shape)


def learning_rate_factor(
    schedule: Callable[[float], float], warmup: float, total_steps: int, step: int
) -> float:
    """Linear warm-up over the first steps, then the schedule over the rest.

    >>> schedule = build_schedule("linear")
    >>> [learning_rate_factor(schedule, 0.5, 4, step) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warm = round(warmup * total_steps)
    if step < warm:
        return (step + 1) / warm
    return schedule(min((step - warm) / max(total_steps - warm, 1), 1.0))
