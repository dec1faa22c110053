"""The registry of auxiliary losses, and the arithmetic that several share."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, get_args, get_type_hints

import torch
from torch import Tensor

from .._torch import gathered
from ..gates import ExpertRows
from ..plugins.errors import ConfigError
from ..plugins.registry import Registry
from ..routing.routing import Routing

#: ``(routing, **options) -> scalar``; the options are the function's keyword arguments. Further
#: positional-only arguments ask for what ``loss_of`` gives by their names.
Loss = Callable[..., Tensor]

LOSSES: Registry[Tensor] = Registry("losses", base=None, group="switchyard.losses", positional=1)


class ReadableRouter(Protocol):
    """A router as a loss may read it; ``routers.Router`` is one."""

    @property
    def training(self) -> bool:
        """Whether it is in training, in which a loss may draw noise."""

    def expert_rows(self) -> list[ExpertRows]:
        """The rows of each linear gate."""


class ReadableBank(Protocol):
    """Experts as a loss may read them; ``experts.Bank`` is one."""

    def projections(self) -> Tensor | None:
        """The matrix by which each expert first reads a row, ``(E, D, P)``."""


class RoutedLayer(Protocol):
    """A layer as a loss may read it; ``experts.MoE`` is one."""

    @property
    def router(self) -> ReadableRouter:
        """The router, whose gates have rows."""

    @property
    def bank(self) -> ReadableBank:
        """The experts."""


@lru_cache
def inputs_of(loss: Loss) -> tuple[str, ...]:
    """Names of what a loss reads besides the routing: ``layer``, ``outputs``, or both.

    They are its positional-only arguments after the first.

    >>> inputs_of(LOSSES["z"]), inputs_of(lambda routing, layer, /, *, power=1: None)
    ((), ('layer',))
    """
    parameters = inspect.signature(loss).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.POSITIONAL_ONLY)[1:]


def loss_of(loss: Loss, routing: Routing, layer: RoutedLayer | None, **options: Any) -> Tensor:
    """The value of a loss that may read the layer, or the outputs of its experts.

    ``ConfigError`` if the loss reads what is missing.

    >>> import dataclasses
    >>> from routers import Items
    >>> items, outputs = Items(torch.zeros(2, 1)), torch.tensor([[1.0], [3.0]])
    >>> routing = Routing.by_item(items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2)
    >>> routing = dataclasses.replace(routing, outputs=outputs)
    >>> loss_of(lambda routing, outputs, /: outputs.mean(), routing, layer=None).item()
    2.0
    """
    found = {"layer": layer, "outputs": routing.outputs}
    wanted = inputs_of(loss)
    for name in wanted:
        if found[name] is None:
            raise ConfigError(f"{_name(loss)}: reads {name}: {_CURES[name]}")
    with torch.autocast(routing.item.device.type, enabled=False):
        return loss(routing, *(found[name] for name in wanted), **options)


def rows_of(layer: RoutedLayer, loss: str) -> list[ExpertRows]:
    """The rows of the layer's linear gates, whole and in float32 or wider, for ``loss``.

    ``ConfigError`` if the router has none.
    """
    found = layer.router.expert_rows()
    if not found:
        raise ConfigError(
            f"losses.{loss}: {type(layer.router).__name__} has no linear gate with a row for every "
            f"expert; remove losses.{loss}, or choose router=topk with router.gate=linear"
        )
    return [ExpertRows(_whole(rows), experts) for rows, experts in found]


def projections_of(layer: RoutedLayer, loss: str) -> Tensor:
    """The first projections of the layer's experts, whole and in float32 or wider, for ``loss``.

    ``ConfigError`` if they have none.
    """
    found = layer.bank.projections()
    if found is None:
        raise ConfigError(
            f"losses.{loss}: {type(layer.bank).__name__} has no method projections; remove "
            f"losses.{loss}, or choose experts that have it, such as mlp"
        )
    return _whole(found)


def _whole(values: Tensor) -> Tensor:
    values = gathered(values)
    return values.to(torch.promote_types(values.dtype, torch.float32))


#: How to give a loss what it reads.
_CURES = {
    "layer": "call routers.losses.loss_of with the layer",
    "outputs": "set layer.keep_outputs = True, and use a router that assigns items to experts",
}


def _name(loss: Loss) -> str:
    names = [name for name in LOSSES if LOSSES[name] is loss]
    return f"losses.{names[0]}" if names else getattr(loss, "__name__", "the loss")


@lru_cache
def levels_of(loss: Loss) -> tuple[str, ...]:
    """The values that the argument ``level`` of a loss may take; empty if it has no such argument.

    >>> levels_of(LOSSES["load"]), levels_of(LOSSES["z"])
    (('batch', 'step'), ())
    """
    return get_args(get_type_hints(loss).get("level"))


def cv_squared(values: Tensor) -> Tensor:
    """Squared coefficient of variation along the last axis, with the population variance.

    No square root is taken, so that the gradient at perfect balance is 0 and not NaN. Values are
    scaled by a power of two, which rounds nothing, so that no square overflows.

    >>> round(cv_squared(torch.tensor([1.0, 3.0])).item(), 6)
    0.25
    """
    tiny = torch.finfo(values.dtype).tiny
    highest = values.detach().abs().amax(-1, keepdim=True).clamp_min(tiny)
    values = values * (torch.frexp(highest).mantissa / highest)
    mean = values.mean(-1, keepdim=True)
    return (values - mean).square().mean(-1) / mean.squeeze(-1).square().clamp_min(tiny)


def entropies(probs: Tensor) -> Tensor:
    """Entropy along the last axis in nats; 0 log 0 is 0, with a finite gradient.

    >>> round(entropies(torch.tensor([0.5, 0.5])).item(), 4)
    0.6931
    """
    tiny = torch.finfo(probs.dtype).tiny
    return -(probs * probs.clamp_min(tiny).log()).sum(-1)


def mean_or_zero(values: Tensor) -> Tensor:
    """Mean over the first axis; 0 where it is empty."""
    return values.sum(0) / max(values.shape[0], 1)
