"""Another router in front of trained experts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from routers import ROUTERS, ConfigError, Router

from ..layers.moe import MoE
from ..layers.multi_gate import Gates
from ..surgery.take import check_plain
from .causality import check_causal, is_causal


def swap_router(
    model: nn.Module, router: str, *, causal: bool | None = None, **options: Any
) -> dict[str, Router]:
    """Put a new router in front of the experts of every layer of a model, in place.

    The routers have the sizes, devices and modes of the layers, and initial weights in float32 or
    wider; experts, capacity and all else stay. Optimizers and ``adapt_on_step`` come afterwards,
    since the old routers are gone. To train the new ones alone, freeze the model before::

        model.requires_grad_(False)
        new = experts.swap_router(model, "sigmoid", k=2)

    Args:
        model: a layer, or a model with layers in any submodules.
        router: a registered name, or ``package.module:Class``.
        causal: whether routes must not depend on later items; None to find it out as
            ``experts.route`` does.
        options: of the router.

    Returns:
        The new routers, by the names of their layers in the model.

    Raises:
        ConfigError: if there is no layer, one has several gates, or the router does not fit to
            the experts or to a model that predicts later items. Nothing is changed then.

    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> layer.requires_grad_(False) is layer
    True
    >>> new = swap_router(layer, "sigmoid", k=3)
    >>> layer(torch.randn(5, 8))[1].load.sum().item()
    15
    >>> [name for name, values in layer.named_parameters() if values.requires_grad]
    ['router.gate.weight']
    """
    layers = {name: each for name, each in model.named_modules() if isinstance(each, MoE)}
    if not layers:
        raise ConfigError("the model has no MoE layer whose router could be replaced")
    built = dict[str, Router]()
    for name, layer in layers.items():
        new = _fitting(name, layer, router, options)
        if is_causal(model, name) if causal is None else causal:
            check_causal(MoE(new, layer.bank, capacity=layer.capacity, drop=layer.drop))
        built[name] = new
    for name, layer in layers.items():
        layer.router = built[name]
    return built


def _fitting(name: str, layer: MoE, router: str, options: Mapping[str, Any]) -> Router:
    """A new router for a layer; ``ConfigError`` if it does not fit."""
    check_plain(layer)
    if isinstance(layer.router, Gates):
        raise ConfigError(f"layer {name!r} has several gates; replace the router of one with one")
    bank = layer.bank
    new = ROUTERS.build(router, bank.dim, bank.num_experts, **options)
    MoE(new, bank)  # refuses what does not fit
    values = next((each for each in bank.parameters() if each.is_floating_point()), torch.empty(0))
    dtype = torch.promote_types(values.dtype, torch.float32)
    return new.to(values.device, dtype).train(layer.training)
