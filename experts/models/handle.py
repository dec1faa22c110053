"""Routed layers of a model, and the modules in whose places they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from routers import ConfigError
from routers.plugins import named_state

from ..layers.moe import MoE
from .routed import Routed


@dataclass(frozen=True)
class Swap:
    """An attribute of a module that has another value while the model is routed."""

    owner: nn.Module
    name: str
    before: Any
    after: Any

    def do(self) -> None:
        _set(self.owner, self.name, self.after)

    def undo(self) -> None:
        _set(self.owner, self.name, self.before)


@dataclass(frozen=True, eq=False)
class RoutedModel:
    """The routed layers that a call of ``experts.route`` put into a model.

    Attributes:
        layers: each ``MoE`` by the name of the module in whose place it is.
        originals: the modules that were replaced, by the same names.
    """

    layers: Mapping[str, MoE]
    originals: Mapping[str, nn.Module]
    swaps: Mapping[str, list[Swap]]
    routed: Mapping[str, Routed]
    states: Mapping[str, list[tuple[int, int]]]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        lines = [
            f"  {name}: {type(layer.router).__name__} to {layer.router.num_experts} experts "
            f"{type(layer.bank).__name__}"
            for name, layer in self.layers.items()
        ]
        return "\n".join([f"{len(self)} routed layers", *lines])

    def unroute(self) -> None:
        """Put the replaced modules back, bit for bit as they were; see ``experts.unroute``."""
        for name, routed in self.routed.items():
            first = self.swaps[name][0]
            if getattr(first.owner, first.name, None) is not routed:
                raise ConfigError(
                    f"layer {name!r} is no longer in the model: it was taken out already, or "
                    "replaced; put the modules in handle.originals back by hand"
                )
            if versions(routed) != self.states[name]:
                raise ConfigError(
                    f"layer {name!r} has changed since it was routed, and what it learned would be "
                    "lost; keep the routed model, or put the modules in handle.originals back by "
                    "hand"
                )
        for name, routed in self.routed.items():
            _follow(self.originals[name], routed)
            for swap in self.swaps[name]:
                swap.undo()


def unroute(handle: RoutedModel) -> None:
    """Put the modules back that ``experts.route`` replaced, bit for bit as they were.

    They follow moves of the model to another device, type or mode. The handle holds them until
    then; a model itself does not, so that they cost no memory once the handle is gone.

    Raises:
        ConfigError: if a parameter of a routed layer was changed or loaded since.

    >>> import experts, torch
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    >>> handle = experts.route(model, "0")
    >>> experts.unroute(handle)
    >>> model
    Sequential(
      (0): Linear(in_features=4, out_features=4, bias=True)
      (1): ReLU()
    )
    """
    if not isinstance(handle, RoutedModel):
        raise ConfigError(
            f"{type(handle).__name__} is no handle; give what experts.route has returned, which "
            "holds the modules that were replaced"
        )
    handle.unroute()


def versions(module: nn.Module) -> list[tuple[int, int]]:
    """Identity and number of changes of each parameter of a module.

    torch counts changes in place. Moves to a device or type keep both; those of buffers make new
    tensors, so that buffers are left out.
    """
    return [(id(tensor), tensor._version) for tensor in module.parameters()]


def first_parameter(module: nn.Module) -> Tensor | None:
    """The first parameter or buffer with floating-point values."""
    state = (tensor for _, tensor in named_state(module))
    return next((tensor for tensor in state if tensor.is_floating_point()), None)


def _follow(original: nn.Module, routed: Routed) -> None:
    """Move a module to the device and type of the layer in its place, and set its mode."""
    old, new = first_parameter(original), first_parameter(routed.moe.bank)
    if old is not None and new is not None:
        original.to(new.device, new.dtype if new.dtype != old.dtype else None)
    if original.training != routed.training:
        original.train(routed.training)


def _set(owner: nn.Module, name: str, value: Any) -> None:
    if name in owner._modules and not isinstance(value, nn.Module):
        delattr(owner, name)
    setattr(owner, name, value)
