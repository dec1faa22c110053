"""Pretrained blocks as layers, and layers as blocks."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from routers import ROUTERS, ConfigError, Router
from routers.plugins import arguments_of, named_state, set_tensor, unknown

from .._bank import EXPERTS, Bank
from ..layers.moe import MoE
from ..surgery.take import check_plain
from ._base import FAMILIES, Family, Plan

#: Options that change training alone; a block keeps its own.
TRAINING = {"dropout", "jitter", "rate", "rule"}


def from_transformers(block: nn.Module) -> MoE:
    """A layer with the router, the experts and copies of the weights of a pretrained block.

    The family is found by the name of the block's class, or of one that it inherits from; see
    ``FAMILIES``. Weights keep their types, devices and frozen state, and the layer the mode of the
    block. In evaluation outputs are those of the block up to rounding. ``y, routing = layer(x)``
    returns the routing too. transformers is not imported.

    Args:
        block: the module of a decoder layer that routes tokens, such as ``layer.mlp`` of a
            Mixtral; to convert all of a model see ``model_from_transformers``.

    Raises:
        ConfigError: if the family is unknown, or a setting of the block has no counterpart.

    >>> from_transformers(nn.Linear(2, 2))
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: family=Linear: unknown. Allowed: DeepseekV3MoE, ...
    """
    return layer_of(family_of(block))


def layer_of(family: Family) -> MoE:
    """The layer of a block, by its family."""
    plan = family.plan()
    check_weights(family, plan)
    layer = plan.build()
    built = dict(named_state(layer))
    for name, given in plan.weights.items():
        sources = [family.value(each) for each in given.names]
        values = given.layout.read([each.detach() for each in sources])
        # a buffer of a router keeps its type, which is float32 or wider
        own = values.dtype if isinstance(built[name], nn.Parameter) else built[name].dtype
        values = values.to(own).clone(memory_format=torch.contiguous_format)
        set_tensor(layer, name, values, built[name])
        if isinstance(built[name], nn.Parameter):
            layer.get_parameter(name).requires_grad_(sources[0].requires_grad)
    return layer.train(family.block.training)


def to_transformers(layer: MoE, like: nn.Module) -> nn.Module:
    """A block like another, with copies of the weights of a layer.

    Types and devices are those of ``like``, and so are settings of training alone, such as noise;
    modes and frozen state are those of the layer.

    Args:
        layer: with the router and experts of the family, as ``from_transformers`` returns it.
        like: a block of the sizes and settings of the layer; it stays as it is.

    Raises:
        ConfigError: if the layer does something that the block cannot, or has other sizes.
    """
    family = family_of(like)
    plan = family.plan()
    check_plain(layer)
    check_fits(layer, family, plan)
    block, state = deepcopy(like, configurations(like)), dict(named_state(layer))
    for name, given in plan.weights.items():
        parts = given.layout.write(state[name].detach())
        for target, values in zip(given.names, parts, strict=True):
            old = family.value(target)
            own = values if old.is_meta else values.to(old.device, old.dtype)
            own = own.clone(memory_format=torch.contiguous_format)
            set_tensor(block, target, own, old)
            if isinstance(old, nn.Parameter):
                block.get_parameter(target).requires_grad_(state[name].requires_grad)
    return block.train(layer.training)


def check_weights(family: Family, plan: Plan) -> None:
    """Raise ``ConfigError`` unless plan and block have the same tensors, whole and unquantized."""
    check_plain(family.block)
    kind = type(family.block).__name__
    built = dict(named_state(plan.build()))
    if built.keys() != plan.weights.keys():
        names = ", ".join(sorted(built.keys() ^ plan.weights.keys()))
        raise ConfigError(f"family {type(family).__name__}: weights of other tensors: {names}")
    read = {name for given in plan.weights.values() for name in given.names}
    if left := [name for name, _ in named_state(family.block) if name not in read]:
        raise ConfigError(f"{kind}: {', '.join(left)} without counterpart in a layer; {_WHOLE}")
    for name, given in plan.weights.items():
        sources = [torch.empty_like(family.value(each), device="meta") for each in given.names]
        found, expected = tuple(given.layout.read(sources).shape), tuple(built[name].shape)
        if found != expected:
            raise ConfigError(
                f"{kind}: {', '.join(given.names)} would be {name} of shape {found}, and this "
                f"layer has it of shape {expected}; {_WHOLE}"
            )
        if any(each.dtype not in _TYPES for each in sources):
            raise ConfigError(f"{kind}: {', '.join(given.names)} is {sources[0].dtype}; {_WHOLE}")


def configurations(block: nn.Module) -> dict[int, Any]:
    """The configurations that a block refers to, as a memo of ``deepcopy``, so that copies do."""
    found = [vars(each)["config"] for each in block.modules() if "config" in vars(each)]
    return {id(each): each for each in found}


def family_of(block: nn.Module) -> Family:
    """The family of a block; ``ConfigError`` if it has none."""
    name = family_name(block)
    if name is None:
        inner = isinstance(block, nn.Module) and any(map(family_name, block.modules()))
        cure = "; for a model with such blocks call experts.model_from_transformers(model)"
        error = unknown("family", type(block).__name__, FAMILIES)
        raise ConfigError(f"{error}{cure}") if inner else error
    return FAMILIES.build(name, block)


def family_name(block: nn.Module) -> str | None:
    """The registered name of the class of a block, or of a class that it inherits from."""
    names = set(FAMILIES.available())
    return next((each.__name__ for each in type(block).__mro__ if each.__name__ in names), None)


def check_fits(layer: MoE, family: Family, plan: Plan) -> None:
    """Raise ``ConfigError`` unless a layer does what a block of this family and plan does."""
    kind, wanted = type(family.block).__name__, plan.build()
    if type(layer) is not MoE:
        raise ConfigError(f"{type(layer).__name__}: {kind} has one gate; give a layer with one")
    sizes = {"dim": plan.dim, "num_experts": plan.num_experts}
    if any(getattr(layer.bank, name) != size for name, size in sizes.items()):
        raise ConfigError(
            f"the layer has dim={layer.bank.dim} and num_experts={layer.bank.num_experts}, and "
            f"this {kind} dim={plan.dim} and num_experts={plan.num_experts}; {_SIZES}"
        )
    options = [f"{name}={value!r}" for name, value in plan.router.items() if name != "name"]
    swap = f"experts.swap_router(layer, {', '.join([repr(plan.router['name']), *options])})"
    cures = {"router": f"put that one in front: {swap}", "bank": _SIZES, "shared": _SIZES}
    for name, cure in cures.items():
        ours, theirs = _described(getattr(layer, name)), _described(getattr(wanted, name))
        if ours != theirs:
            raise ConfigError(
                f"{name} is {_written(ours, theirs)}, and {_written(theirs, ours)} in this "
                f"{kind}; {cure}"
            )
    for name in ("capacity", "drop", "rounding", "skip"):
        ours, theirs = getattr(layer, name), getattr(wanted, name)
        if ours != theirs:
            raise ConfigError(
                f"{name}={ours}, and {theirs} in this {kind}; set layer.{name} = {theirs!r}"
            )
    if layer.changes:
        raise ConfigError(
            "an intervention or a replay changes the routings of the layer; convert it outside"
        )
    shapes = {name: tuple(values.shape) for name, values in named_state(layer)}
    for name, values in named_state(wanted):
        found, expected = shapes.pop(name, "absent"), tuple(values.shape)
        if found != expected:
            raise ConfigError(
                f"{name} is {found}, and {expected} in this {kind}; give the router its gate, and "
                "a block of the same sizes"
            )
    if shapes:
        raise ConfigError(
            f"{kind} has no counterpart of {', '.join(sorted(shapes))}; give the router its gate"
        )


#: Types of weights that are not quantized.
_TYPES = {torch.float64, torch.float32, torch.bfloat16, torch.float16}

_WHOLE = "give a block whose weights are neither split nor quantized"

#: Arguments that are not compared: a gate counts by its tensors.
_LEFT_OUT = {*TRAINING, "gate", "dim", "num_experts"}

#: How to make experts fit.
_SIZES = "give a block of the same kind and sizes"


def _described(part: Router | Bank | None) -> dict[str, Any]:
    """Name and arguments of a part, but for sizes, options of training, and the gate."""
    if part is None:
        return {"name": "absent"}
    registry = ROUTERS if isinstance(part, Router) else EXPERTS
    names = [name for name in registry.available() if registry.get_part(name) is type(part)]
    arguments = {name: value for name, value in arguments_of(part).items() if name not in _LEFT_OUT}
    return {"name": names[0] if names else type(part).__name__, **arguments}


def _written(part: dict[str, Any], other: dict[str, Any]) -> str:
    """A part by its name, with the arguments in which it differs from another."""
    missing = object()
    options = [
        f"{name}={value}"
        for name, value in part.items()
        if name != "name" and (part["name"] != other["name"] or other.get(name, missing) != value)
    ]
    return f"{part['name']} with {', '.join(options)}" if options else str(part["name"])
