"""A dense expert in the place of every mixture, fitted to its outputs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

import routers
from experts import Bank, MoE, find_neurons, join_experts
from routers import ConfigError, OptionError
from routers.plugins import arguments_of, rebuilt, unknown

from .._task import Backbone
from ..config.schema import Config
from ..loading.seeds import mix_seed
from ._base import EDITS, Context, Edit, mixture_layers, replace_layer
from ._fitting import Use, errors, fit, uses

#: Experts whose widths a dense expert has together, shared ones aside, by the value of ``hidden``.
WIDTHS: dict[str, Callable[[MoE, Use], float]] = {
    "active": lambda layer, use: round(float(use.load.sum()) / max(use.items, 1)),
    "all": lambda layer, use: layer.bank.num_experts,
}


@EDITS.register("distil")
class Distil(Edit):
    """Replace every mixture by one dense expert that is fitted to its outputs, layer by layer.

    Each layer learns the outputs of the one that it replaces, shared experts included, for its
    inputs on batches of the training split: by Adam, with a rate that falls to 0, on the squared
    error relative to that of the answer 0. It starts from the experts with the largest gate mass,
    side by side and weighted by it, if they fill its width exactly and outputs are sums over
    neurons; else from random weights. Afterwards ``moe.num_experts`` is 1.

    Source: Xue et al. 2022, 2201.10890, section 3, where the best experts are gathered in a dense
    layer and then distilled; an error of hidden layers as in Romero et al. 2014, 1412.6550.

    Args:
        hidden: width of the dense experts; ``active`` for that of the experts that work on an
            item, ``all`` for that of all experts, always with the shared ones.
        steps: batches that layers are fitted to.
        lr: learning rate of the first one.
        seed: of random weights, and of variants of training samples.
    """

    def __init__(
        self, *, hidden: int | str = "active", steps: int = 500, lr: float = 0.001, seed: int = 0
    ) -> None:
        if isinstance(hidden, str) and hidden not in WIDTHS:
            raise unknown("hidden", hidden, [*WIDTHS, "an integer"])
        if isinstance(hidden, int) and hidden < 1:
            raise OptionError("hidden", hidden, f"an integer >= 1, or one of {', '.join(WIDTHS)}")
        if steps < 0:
            raise OptionError("steps", steps, "an integer >= 0")
        if not 0 < lr < 1:
            raise OptionError("lr", lr, "a number in (0, 1)")
        self.hidden, self.steps, self.lr, self.seed = hidden, steps, lr, seed

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = mixture_layers(network, "distil")
        for layer in layers:
            _check(layer)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix_seed(self.seed, 0))
            found = uses(network, layers, context.batches())
            students = [self._student(*each) for each in zip(layers, found, strict=True)]
            before = errors(network, layers, students, context.batches())
            batches = context.training_batches()
            fit(network, layers, students, batches, self.steps, self.lr)
            after = errors(network, layers, students, context.batches())
        for layer, student in zip(layers, students, strict=True):
            replace_layer(network, layer, student)
        _make_dense(context.config)
        widths = [arguments_of(student.bank)["hidden"] for student in students]
        return {"hidden": widths, "error": {"before": before, "after": after}}

    def _student(self, layer: MoE, use: Use) -> MoE:
        """The dense layer before it is fitted."""
        bank, width = layer.bank, self.hidden
        if isinstance(width, str):
            experts = int(WIDTHS[width](layer, use)) + _shared(layer)
            width = max(experts, 1) * _width(bank)
        dense = _gathered(layer, use, width)
        if dense is None:
            dense = rebuilt(bank, num_experts=1, hidden=width).to(next(bank.parameters()))
        return MoE(routers.build("uniform", bank.dim, 1, k=1), dense).requires_grad_(True)


def _gathered(layer: MoE, use: Use, width: int) -> Bank | None:
    """The most used experts, and all shared ones, as one of this width; None if they do not fit."""
    bank, shared = layer.bank, _shared(layer)
    number, rest = width // _width(bank) - shared, width % _width(bank)
    if rest or not 0 <= number <= bank.num_experts:
        return None
    chosen = use.mass.argsort(descending=True, stable=True)[:number].tolist()
    if chosen and not use.mass[chosen].sum() > 0:  # weights may be negative
        return None
    part = use.mass[chosen].sum().clamp_min(1e-300) * max(use.items, 1)
    weights = (use.mass[chosen] * use.mass.sum() / part).tolist()
    parts = [(bank, expert, weight) for expert, weight in zip(chosen, weights, strict=True)]
    if layer.shared is not None:
        parts += [(layer.shared, expert, 1.0) for expert in range(shared)]
    with suppress(ConfigError):  # neurons of an expert that are not interchangeable
        neurons = find_neurons(bank)
        if neurons.outputs:
            return join_experts(neurons, parts)
    owner, expert, _ = parts[0]
    return owner.take_experts([expert]) if len(parts) == 1 else None


def _check(layer: MoE) -> None:
    """Raise ``ConfigError`` for a layer that no dense expert can stand for."""
    if layer.num_gates > 1:
        raise ConfigError("distil: the layers have several gates; give a run with one")
    if type(layer) is not MoE:
        kind = type(layer).__name__
        raise ConfigError(f"distil: no dense expert can stand for a {kind}; give a run with MoE")
    if layer.latent is not None:
        raise ConfigError(
            "distil: experts are narrower than the layer; give a run without moe.latent"
        )
    if layer.shared is not None and type(layer.shared) is not type(layer.bank):
        raise ConfigError(
            f"distil: shared experts are {type(layer.shared).__name__}, others "
            f"{type(layer.bank).__name__}; give a run without moe.shared_expert"
        )
    if not isinstance(getattr(layer.bank, "hidden", None), int):
        raise ConfigError(
            f"distil: {type(layer.bank).__name__} has no width `hidden`, so there is no dense "
            "expert of its kind; give a run with experts such as mlp"
        )


def _width(bank: Bank) -> int:
    return int(bank.hidden)  # type: ignore[arg-type]


def _shared(layer: MoE) -> int:
    """The number of shared experts."""
    return 0 if layer.shared is None else layer.shared.num_experts


def _make_dense(config: Config) -> None:
    """Set one expert without a choice for every layer; what remains of ``layers`` are experts."""
    config.router = {"name": "uniform", **routers.ROUTERS.options("uniform"), "k": 1}
    config.losses = {}
    config.freeze = [name for name in config.freeze if "router" not in name]  # it has no parameters
    config.moe = replace(
        config.moe,
        num_experts=1,
        shared=0,
        capacity=None,
        renormalize=False,
        expert_dropout=0.0,
        skip=None,
    )
    experts = {key: entry.get("expert") for key, entry in config.layers.items()}
    config.layers = {key: {"expert": each} for key, each in experts.items() if each}
