"""Parts of edits of dense networks: their layers, and the router that these get."""

from collections.abc import Mapping
from typing import Any

import routers
from experts import MoE, RoundsMoE
from routers import ConfigError

from .._task import Backbone
from ..assembly.build import routed_layers
from ..config.schema import Config


def dense_layers(network: Backbone, edit: str) -> list[MoE]:
    """The layers of a dense run, with one expert and one gate each; ``ConfigError`` otherwise."""
    layers = routed_layers(network)
    if not layers or any(layer.bank.num_experts > 1 for layer in layers):
        has = max((layer.bank.num_experts for layer in layers), default=0)
        found = f"layers with {has} experts" if layers else "no layer to replace"
        raise ConfigError(
            f"{edit}: the network has {found}; give a dense run, with moe.control=iso_flop or "
            "moe.num_experts=1 (the edit grow adds experts to a mixture)"
        )
    if any(layer.num_gates > 1 for layer in layers):
        raise ConfigError(f"{edit}: the layers have several gates; give a run with one")
    if any(isinstance(layer, RoundsMoE) for layer in layers):
        raise ConfigError(f"{edit}: the layers have several rounds; give a run with moe.rounds=1")
    return layers


def set_router(config: Config, name: str, options: Mapping[str, Any]) -> None:
    """Set the router of all layers, with its own losses if it is another one."""
    if name != config.router["name"]:
        config.losses = dict(routers.ROUTERS.get_part(name).default_losses)
    config.router = {"name": name, **routers.ROUTERS.options(name), **options}
    for entry in config.layers.values():
        entry.pop("router", None)
