"""All pretrained blocks of a model as layers, in place, and back."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError
from routers.plugins import named_state

from ..layers.moe import MoE
from ..models.routed import Routed
from ._base import FAMILIES
from .convert import (
    check_fits,
    check_weights,
    configurations,
    family_name,
    family_of,
    from_transformers,
    to_transformers,
)


class RoutedBlock(Routed):
    """A routed layer in the place of a pretrained block: it returns what the model expects there.

    Args:
        moe: the layer.
        block: the block, of which all but the weights is kept.
    """

    def __init__(self, moe: MoE, block: nn.Module) -> None:
        super().__init__(moe)
        self.training = moe.training
        self.family = type(family_of(block))
        self._like = (_without_memory(block),)  # in a tuple, so that it is no submodule

    @property
    def like(self) -> nn.Module:
        """The block on the device ``meta``."""
        return self._like[0]

    def forward(self, x: Tensor) -> Any:
        return self.family.returned(super().forward(x))


def model_from_transformers(model: nn.Module) -> dict[str, MoE]:
    """Replace every pretrained MoE block of a model by its layer, in place.

    The model computes what it did before, up to rounding. Its routings, their losses, and masks for
    padding are for ``experts.collect``, as with ``experts.route``. Convert before an optimizer is
    built and before parameters are sharded. One block at a time is in memory twice.

    Args:
        model: a model with blocks of registered families in any submodules.

    Returns:
        The layers by the names of the blocks that they replace.

    Raises:
        ConfigError: if there is no such block, one has a setting without counterpart, or the
            model computes a balance loss from router logits, which the layers do not give it.
            Nothing is replaced then.

    >>> model_from_transformers(nn.Linear(2, 2))
    Traceback (most recent call last):
    routers.plugins.errors.ConfigError: the model has no MoE block of a family: DeepseekV3MoE, ...
    """
    places = dict(model.named_modules(remove_duplicate=False))
    blocks = {name: each for name, each in places.items() if family_name(each)}
    if not blocks:
        raise ConfigError(f"the model has no MoE block of a family: {', '.join(FAMILIES)}")
    if "" in blocks:
        raise ConfigError("the model is itself a block; convert it with from_transformers")
    if getattr(getattr(model, "config", None), "output_router_logits", False):
        raise ConfigError(
            "output_router_logits=True: a layer does not give the model its router logits; set "
            "model.config.output_router_logits = False, and add the loss of experts.collect"
        )
    for block in blocks.values():
        family = family_of(block)
        check_weights(family, family.plan())
    replaced: dict[nn.Module, RoutedBlock] = {}  # a block in several places stays one
    for name, block in blocks.items():
        if block not in replaced:
            replaced[block] = RoutedBlock(from_transformers(block), block)
        model.set_submodule(name, replaced[block])
    return {name: replaced[block].moe for name, block in blocks.items()}


def model_to_transformers(model: nn.Module) -> None:
    """Put blocks of their library back in the place of all layers, with the layers' weights.

    The inverse of ``model_from_transformers``, for instance before ``model.save_pretrained``.

    Raises:
        ConfigError: if there is no such layer, or one does what its block cannot, as with another
            router. Nothing is replaced then.
    """
    places = dict(model.named_modules(remove_duplicate=False))
    routed = {name: each for name, each in places.items() if isinstance(each, RoutedBlock)}
    if not routed:
        raise ConfigError("the model has no layer that model_from_transformers put in")
    for name, each in routed.items():
        family = family_of(each.like)
        try:
            check_fits(each.moe, family, family.plan())
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    blocks: dict[nn.Module, nn.Module] = {}
    for name, each in routed.items():
        if each not in blocks:
            blocks[each] = to_transformers(each.moe, each.like)
        model.set_submodule(name, blocks[each])


def _without_memory(block: nn.Module) -> nn.Module:
    """A copy of a block on the device ``meta``, made without a copy of its weights."""
    memo: dict[int, Any] = configurations(block)
    for _, tensor in named_state(block):
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return deepcopy(block, memo)
