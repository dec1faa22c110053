"""A dense network frozen, with experts added to its layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

import experts
import routers
from routers import ConfigError, OptionError
from routers.plugins import arguments_of, option_errors_under

from .._task import Backbone
from ..config.layers import LAYERS, change_layers, settings_of
from ..config.named_part import split_part
from ..loading.seeds import mix_seed
from ._base import EDITS, Context, Edit, replace_layer
from ._dense import dense_layers, set_router


@EDITS.register("adapt")
class Adapt(Edit):
    """Freeze a dense network, and add a router and new experts, such as low-rank maps.

    A dense run has one expert in each layer: a control (``moe.control``), or
    ``moe.num_experts=1``. That expert becomes a shared one. With ``lora``, whose maps begin at 0,
    the network computes what it did.

    Source: Zadouri et al. 2023 (MoLoRA), 2309.05444.

    Args:
        num_experts: number of new experts in each layer.
        expert: their name, or ``{name: …, option: …}``.
        router: name of the router, or ``{name: …, option: …}``; None for that of the configuration.
        freeze: what is frozen, as the key ``freeze`` takes it.
        seed: of routers and experts.
    """

    def __init__(
        self,
        *,
        num_experts: int = 8,
        expert: str | Mapping[str, Any] = "lora",
        router: str | Mapping[str, Any] | None = None,
        freeze: Sequence[str] = ("backbone", "*.shared"),
        seed: int = 0,
    ) -> None:
        if num_experts < 1:
            raise OptionError("num_experts", num_experts, "an integer >= 1")
        self.num_experts, self.freeze, self.seed = num_experts, list(freeze), seed
        self.expert = split_part("expert", expert)
        experts.EXPERTS.check_options(*self.expert)
        self.router = None if router is None else split_part("router", router)
        if self.router is not None:
            routers.ROUTERS.check_options(*self.router)

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers, config = dense_layers(network, "adapt"), context.config
        if any(layer.shared is not None for layer in layers):
            raise ConfigError("adapt: the layers have shared experts already; give a run without")
        if any(layer.latent is not None for layer in layers):
            raise ConfigError("adapt: the expert is narrower than its layer; unset moe.latent")
        name, options = self.expert
        old = [settings_of(config, number) for number in range(len(layers))]
        for number, (layer, settings) in enumerate(zip(layers, old, strict=True)):
            router, given = self.router or split_part("router", settings.router)
            width, place = layer.dim, next(network.parameters())
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(mix_seed(self.seed, number))
                with option_errors_under("router"):
                    gate = routers.build(router, width, self.num_experts, **given).to(place)
                with option_errors_under("expert"):
                    bank = experts.build(name, width, self.num_experts, **options).to(place)
            new = layer.with_parts(gate, bank)
            new.shared = layer.bank
            replace_layer(network, layer, new.train(layer.training))
        config.moe.control, config.moe.shared = None, 1
        config.expert = {"name": name, **experts.EXPERTS.options(name), **options}
        for entry in config.layers.values():
            entry.pop("expert", None)
        for number, (layer, settings) in enumerate(zip(layers, old, strict=True)):
            has = arguments_of(layer.bank).items()
            base = {key: value for key, value in has if key not in ("dim", "num_experts")}
            base = {"name": settings.expert["name"], **base}
            if number == 0:
                config.moe.shared_expert = base
            elif base != config.moe.shared_expert:
                key = f"{LAYERS}.{number}.moe.shared_expert"
                config.layers = change_layers(config.layers, [("", key, base)])
        if self.router is not None:
            set_router(config, *self.router)
        config.freeze = [*config.freeze, *(p for p in self.freeze if p not in config.freeze)]
        return {"keeps_outputs": name == "lora", "freeze": config.freeze}
