"""The base of layers with routed attention."""

from typing import Any

from routers import ConfigError, Router, Routing

from .._bank import Bank
from .attend import Attend
from .moe import MoE
from .multi_gate import Gates

#: Settings that routed attention takes over from a layer of feed-forward experts.
_SETTINGS = ("capacity", "drop", "renormalize", "rounding", "expert_dropout", "skip")


class RoutedAttention(MoE):
    """An ``MoE`` whose experts are parts of attention: ``y, routing = layer(x)``.

    Groups are sequences: an item attends within its own.

    Args:
        router: assigns items to experts.
        bank: the experts.
        attend: who attends to whom: ``attend_to_all``, ``attend_to_past``, or another function
            such as ``partial(rotary, attend_to_past)``. A causal one needs a causal router.
        settings: as in ``MoE``, without ``shared`` and ``latent``.

    Raises:
        ConfigError: if the router averages parameters; in the forward pass, if experts choose
            items, or work on slots.
    """

    def __init__(self, router: Router, bank: Bank, *, attend: Attend, **settings: Any) -> None:
        for name in ("shared", "latent"):
            if settings.get(name) is not None:
                raise ConfigError(f"{name}: routed attention has none; leave it out")
        for each in router.each() if isinstance(router, Gates) else [router]:
            if each.traits.merges:
                raise _unfit(each, "averages the parameters of experts")
        super().__init__(router, bank, **settings)
        self.attend = attend


def settings_of(layer: MoE) -> dict[str, Any]:
    """The settings of a plain layer that routed attention can take over.

    ``ConfigError`` for a layer with several rounds, or of parts of items.
    """
    if type(layer) is not MoE:
        raise ConfigError(
            f"routed attention has no form of {type(layer).__name__}; set moe.rounds=1 and "
            "moe.sub_tokens=1, for one layer as in layers.0.moe.rounds=1"
        )
    return {name: getattr(layer, name) for name in _SETTINGS}


def check_assigns(router: Router, routing: Routing) -> None:
    """Raise ``ConfigError`` unless the router has chosen experts for each item."""
    by_expert = routing.fan_in is not None and not routing.is_dense
    if by_expert or routing.execution is not None:
        raise _unfit(router, "does not choose experts for each item")


def _unfit(router: Router, why: str) -> ConfigError:
    return ConfigError(
        f"{type(router).__name__} {why}, so it does not fit in attention; use a router that "
        "chooses experts for each item, such as topk"
    )
