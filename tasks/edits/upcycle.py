"""A dense network made a mixture of experts."""

from collections.abc import Mapping
from typing import Any

import torch

import routers
from experts import (
    Bank,
    MoE,
    Neurons,
    find_neurons,
    perturb_experts,
    take_neurons,
    take_router,
)
from routers import ConfigError, OptionError, Router
from routers.plugins import option_errors_under

from .._task import Backbone
from ..config.layers import settings_of
from ..config.named_part import split_part
from ..loading.seeds import mix_seed
from ._base import EDITS, Context, Edit, replace_layer
from ._dense import dense_layers, set_router


@EDITS.register("upcycle")
class Upcycle(Edit):
    """Copy the expert of every dense layer, and put a new router in front of the copies.

    A dense run has one expert in each layer: a control (``moe.control``), or
    ``moe.num_experts=1``. Without ``drop`` and ``noise`` the network computes what it did, if the
    weights of an item sum to one: for ``topk`` of two or more experts, ``soft_mixture`` and others
    with the trait ``convex``.

    With ``split`` each copy is divided into experts with a part of its neurons, whose outputs are
    scaled up. The experts of a copy have the same scores at first, so that a router with
    ``k=split`` selects all of them: outputs stay equal for a multiple of it.

    Source: Komatsuzaki et al. 2022, 2212.05055; ``drop``: Drop-Upcycling, Nakamura et al. 2025,
    2502.19261, section 3; ``split``: fine-grained experts with virtual groups, He et al. 2024,
    2410.07524, section 3.

    Args:
        num_experts: number of experts in each layer afterwards, a multiple of ``split``.
        router: name of the router, or ``{name: …, option: …}``; None for that of the configuration.
        noise: standard deviation of noise on copies, relative to that of each parameter.
        drop: share of the neurons of each copy that are drawn again, from a normal distribution
            with the mean and deviation of what they replace.
        split: experts that each copy is divided into, a divisor of its neurons.
        seed: of router, noise and drops.
    """

    def __init__(
        self,
        *,
        num_experts: int = 8,
        router: str | Mapping[str, Any] | None = None,
        noise: float = 0.0,
        drop: float = 0.0,
        split: int = 1,
        seed: int = 0,
    ) -> None:
        if split < 1:
            raise OptionError("split", split, "an integer >= 1")
        if num_experts < 2 or num_experts % split:
            expected = f"an integer >= 2, a multiple of split={split}"
            raise OptionError("num_experts", num_experts, expected)
        if not 0 <= noise < 1:
            raise OptionError("noise", noise, "a number in [0, 1)")
        if not 0 <= drop <= 1:
            raise OptionError("drop", drop, "a number in [0, 1]")
        self.num_experts, self.noise = num_experts, noise
        self.drop, self.split, self.seed = drop, split, seed
        self.router = None if router is None else split_part("router", router)
        if self.router is not None:
            name, options = self.router
            routers.ROUTERS.check_options(name, options)

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers, config = dense_layers(network, "upcycle"), context.config
        draw, convex = torch.Generator().manual_seed(self.seed), True
        for number, layer in enumerate(layers):
            given = self.router or split_part("router", settings_of(config, number).router)
            router = self._router(*given, layer.dim, number).to(next(network.parameters()))
            new = layer.with_parts(router, self._bank(layer, draw))
            convex = convex and router.traits.convex
            replace_layer(network, layer, new.train(layer.training))
        if self.router is not None:
            set_router(config, *self.router)
        config.moe.control = None
        return {"keeps_outputs": convex and not self.noise and not self.drop}

    def _router(self, name: str, options: Mapping[str, Any], dim: int, number: int) -> Router:
        """A new router; experts of one copy have equal scores."""
        with torch.random.fork_rng(devices=[]), option_errors_under("router"):
            torch.default_generator.manual_seed(mix_seed(self.seed, number))
            router: Router = routers.build(name, dim, self.num_experts, **options)
        if self.split == 1:
            return router
        k = getattr(router, "k", self.num_experts)
        if not isinstance(k, int) or k % self.split:
            expected = f"a multiple of split={self.split}, so that items reach whole copies"
            raise OptionError("router.k", k, expected)
        first = [expert - expert % self.split for expert in range(self.num_experts)]
        return take_router(router, first)

    @torch.no_grad()
    def _bank(self, layer: MoE, draw: torch.Generator) -> Bank:
        bank = layer.bank
        if self.split > 1:
            bank = _divided(bank, find_neurons(bank), self.split)
        bank = bank.take_experts([expert % self.split for expert in range(self.num_experts)])
        if self.drop:
            _draw_again(bank, find_neurons(bank), self.drop, draw)
        perturb_experts(bank, range(self.num_experts), self.noise, draw)
        return bank


def _divided(bank: Bank, neurons: Neurons, parts: int) -> Bank:
    """The only expert of a bank as several with a part of its neurons each; their mean is equal."""
    if neurons.number % parts:
        expected = f"a divisor of the {neurons.number} neurons of an expert"
        raise OptionError("split", parts, expected)
    if not neurons.outputs:
        raise ConfigError(
            f"split: the output of an expert of {type(bank).__name__} is no sum over neurons; use "
            "split=1, or an expert such as mlp"
        )
    chunks = torch.arange(neurons.number).chunk(parts)
    divided = take_neurons(bank.take_experts([0] * parts), neurons, chunks)
    divided.get_parameter(neurons.outputs).mul_(parts)
    return divided


def _draw_again(bank: Bank, neurons: Neurons, share: float, draw: torch.Generator) -> None:
    """Draw a share of the neurons of every expert again."""
    for expert in range(bank.num_experts):
        order = torch.randperm(neurons.number, generator=draw)
        chosen = order[: round(share * neurons.number)]
        for name, axes in neurons.axes.items():
            values = bank.get_parameter(name)[expert]
            for axis, blocks in axes:
                for block in range(blocks):
                    entries = chosen + block * neurons.number
                    old = values.index_select(axis, entries)
                    new = torch.randn(old.shape, generator=draw, dtype=torch.float64)
                    new = old.mean() + old.std(correction=0) * new.to(old.dtype)
                    values.index_copy_(axis, entries, new)
