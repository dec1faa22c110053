"""Layers with static shapes, for ``torch.export`` and ``torch.compile(fullgraph=True)``."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from routers import ConfigError, Router, Routing
from routers.blocks import call_hooks

from .._bank import Bank
from ..dispatch import mix_static
from .adaptation import Observer
from .latent import projections_of
from .moe import MoE, layer_input

M = TypeVar("M", bound=nn.Module)


def static_copy(model: M) -> M:
    """Copy a model for ``torch.export``, or ``torch.compile`` with ``fullgraph=True``.

    The copy is in evaluation and shares all parameters and buffers. Its ``MoE`` layers run every
    expert on every item, so that no shape depends on the routing; outputs are the same. This
    costs ``E / K`` times the work of the engine. In place of a routing a layer returns None.

    Args:
        model: a model with ``MoE`` layers, or a layer. Layers are found in submodules, and in
            lists, tuples and dicts that modules hold; one held in several places stays one.

    Raises:
        ConfigError: if a layer has no static form: several gates, a capacity, ``skip``, experts
            other than ``mlp`` and ``glu``, a router that declares ``not_static``, or hooks on the
            layer or its experts. Those of ``adapt_on_step`` are for training and left out.

    >>> import experts, routers, torch
    >>> layer = MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4))
    >>> x = torch.randn(2, 5, 8)
    >>> exported = torch.export.export(static_copy(layer), (x,)).module()
    >>> torch.allclose(exported(x)[0], layer.eval()(x)[0], atol=1e-5)
    True
    """
    return cast(M, _copied(model, {}))


def _copied(module: nn.Module, copies: dict[nn.Module, nn.Module]) -> nn.Module:
    """The copy of a module, one for all places that hold it, submodules or not."""
    if module not in copies:
        twin = copies[module] = copy.copy(module)
        for name, value in vars(module).items():
            if any(isinstance(leaf, nn.Module) for leaf in tree_leaves(value)):
                vars(twin)[name] = tree_map_only(nn.Module, partial(_copied, copies=copies), value)
        twin.training = False
        if isinstance(twin, MoE):
            copies[module] = StaticMoE(twin)
    return copies[module]


class StaticMoE(nn.Module):
    """An ``MoE`` in evaluation as one traceable graph; ``static_copy`` makes it."""

    def __init__(self, layer: MoE) -> None:
        super().__init__()
        self.router, self.bank, self.shared = layer.router, layer.bank, layer.shared
        self.latent = layer.latent
        self.training = False
        if type(layer) is not MoE:
            raise _no_form(type(layer).__name__, "use MoE, with one gate and one round")
        if layer.capacity is not None:
            raise _no_form(
                f"capacity={layer.capacity}", "the number of dropped assignments varies; use null"
            )
        if layer.changes:
            why = "an intervention or a replay changes routings; make the copy outside of it"
            raise _no_form("a changed routing", why)
        if layer.skip:
            raise _no_form(f"skip={layer.skip}", "every expert works on every item there; use null")
        hooks = [hook for each in call_hooks(layer) for hook in each.values()]
        if "forward" in vars(layer) or not all(isinstance(hook, Observer) for hook in hooks):
            why = "hooks and a replaced forward expect a routing; remove them, or hook the router"
            raise _no_form(type(layer).__name__, why)
        for router in self.router.modules():
            if isinstance(router, Router) and router.not_static:
                raise _no_form(type(router).__name__, router.not_static)
        for bank in filter(None, (self.bank, self.shared)):
            name = type(bank).__name__
            if type(bank).run_even is Bank.run_even:
                raise _no_form(name, "use experts that implement run_even, such as mlp and glu")
            if any(call_hooks(bank)) or "forward" in vars(bank):
                raise _no_form(name, "hooks and a replaced forward expect rows; remove them")

    def forward(
        self, x: Tensor, *, earlier: Sequence[Routing | None] = (), **given: Tensor | None
    ) -> tuple[Tensor, None]:
        """Compute ``y`` as ``MoE.forward`` does, from the same arguments."""
        if self.training:
            raise RuntimeError("a static layer is for evaluation: train the layer it is a copy of")
        dim = None if self.latent is None else self.latent.dim
        items, rows, _, shape = layer_input(self.bank, x, **given, dim=dim)
        if self.router.traits.needs_projections:
            items = replace(items, projections=projections_of(self.bank, self.latent))
        narrow = rows if self.latent is None else self.latent.narrow(rows)
        y = mix_static(narrow, self.router.route(items), self.bank)
        if self.latent is not None:
            y = self.latent.widen(y)
        if self.shared is not None:
            ones = items.x.new_ones(items.num_items, self.shared.num_experts)
            y = y + mix_static(rows, Routing.by_mask(items, ones), self.shared)
        return y.reshape(shape), None


def _no_form(what: str, why: str) -> ConfigError:
    return ConfigError(f"{what} has no static form: {why}")
