"""The base class of edits, and their application to a network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import Any, NamedTuple

import torch
from torch import nn

from experts import EXPERTS, Criterion, MoE, SwitchHead, measured, take_experts
from routers import ConfigError, OptionError
from routers.plugins import Registry, arguments_of, check_options, option_errors_under

from .._task import Backbone, Batch
from ..assembly.build import routed_layers
from ..config.layers import LAYERS, change_layers, settings_of
from ..config.overrides import Change
from ..config.schema import Config


@dataclass
class Context:
    """Data and runs that edits read, and the configuration that they change with the network.

    Attributes:
        config: of the network; after every edit it describes the network again.
        batches: starts a pass over batches as the network takes them, of data to measure it on.
        training_batches: starts an endless pass over batches of the training split, as training
            takes them.
        other_run: the trained network of another run, by the run's folder.
        folder: of the run that is edited.
    """

    config: Config
    batches: Callable[[], Iterable[Batch]]
    other_run: Callable[[str], Backbone]
    training_batches: Callable[[], Iterable[Batch]]
    folder: Path = Path()

    @torch.no_grad()
    def measure(self, network: Backbone, criterion: Callable[[MoE], Criterion]) -> list[Criterion]:
        """Measure every routed layer of a network over all batches, in evaluation."""
        network.eval()
        with measured(routed_layers(network), criterion) as found:
            for batch in self.batches():
                network(batch)
        return found


class Edit(ABC):
    """An operation on a trained network; the keyword arguments of its constructor are its options.

    Invalid options raise ``OptionError`` with their bare name, in the constructor or, where the
    network decides, in ``apply``.
    """

    @abstractmethod
    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        """Change a network in place; returns plain values about what was done, for a record.

        Numbers of experts and options of banks are read from the network afterwards; an edit
        changes any other key of ``context.config`` itself.
        """


EDITS: Registry[Edit] = Registry("edits", Edit, group="switchyard.edits")


class NamedEdit(NamedTuple):
    """An edit, with the key of its options in errors and the values that configure it."""

    key: str
    written: Any
    edit: Edit


def read_edits(key: str, written: Any) -> list[NamedEdit]:
    """Build edits from values such as ``[{"prune": {"keep": 4}}, "revive"]``.

    An edit is a name, or its name with its options, or ``{name: …, option: …}``.

    Raises:
        ConfigError: for an unknown edit or option, or an invalid value, about ``key``.

    >>> read_edits("edits", [{"prune": {"keep": 4}}])[0].key
    'edits.prune'
    """
    if not isinstance(written, list | tuple) or not written:
        expected = "a list such as [{prune: {keep: 4}}]"
        raise OptionError(key, written, expected)
    found = list[NamedEdit]()
    for each in written:
        name, options = _split(key, each)
        try:
            part = EDITS.get_part(name)
        except OptionError as error:
            raise error.about(key, error.problem) from None
        own = f"{key}.{name}"
        check_options(own, part, options, 0)
        with option_errors_under(own):
            found.append(NamedEdit(own, each, part(**options)))
    return found


def _split(key: str, written: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of an edit."""
    if isinstance(written, str):
        return written, {}
    if isinstance(written, Mapping):
        options = dict(written)
        if isinstance(options.get("name"), str):
            return options.pop("name"), options
        if len(options) == 1:
            [(name, inner)] = options.items()
            if inner is None or isinstance(inner, Mapping):
                return str(name), dict(inner or {})
    raise OptionError(key, written, "edits as NAME or {NAME: {option: value}}")


def apply_edits(
    edits: Sequence[NamedEdit], network: Backbone, context: Context
) -> list[dict[str, Any]]:
    """Apply edits in their order; returns a record of each.

    Raises:
        ConfigError: if one does not fit to the network, or no configuration describes the result.
    """
    records, held = list[dict[str, Any]](), _shared_parts(network)
    if any(isinstance(layer, SwitchHead) for layer in routed_layers(network)):
        raise ConfigError(
            f"{edits[0].key}: each router of task.model.attention=switch_head has its own experts, "
            "which edits do not change; give a run with another attention"
        )
    for key, written, edit in edits:
        with option_errors_under(key):
            done = edit.apply(network, context)
        if _shared_parts(network) != held and len({*held}) < len(held):
            raise ConfigError(
                f"{key}: changes the layers one by one, and they share routers or experts; give a "
                "run with moe.share_router=1 and moe.share_bank=1"
            )
        describe(network, context.config)
        records.append({"edit": written, **done})
    return records


def _shared_parts(network: Backbone) -> list[int]:
    """For the router and the bank of each layer the place of the first layer that holds it."""
    layers = routed_layers(network)
    parts = [part for layer in layers for part in (layer.router, layer.bank)]
    return [next(i for i, each in enumerate(parts) if each is part) for part in parts]


def mixture_layers(network: Backbone, edit: str) -> list[MoE]:
    """The routed layers of a network; ``ConfigError`` if there is none, or one is dense."""
    layers = routed_layers(network)
    if not layers or any(layer.router.num_experts < 2 for layer in layers):
        number = "no routed layer" if not layers else "a layer with a single expert"
        raise ConfigError(
            f"{edit}: the network has {number}, so there are no experts to choose from; give a "
            "run with a mixture, or make one of it by the edit upcycle"
        )
    return layers


def check_fewer(layers: Sequence[MoE], option: str, number: int) -> None:
    """Raise ``OptionError`` unless a number of experts is below that of every layer."""
    fewest = min(layer.router.num_experts for layer in layers)
    if number >= fewest:
        expected = f"an integer in [1, {fewest - 1}], fewer than the {fewest} experts of a layer"
        raise OptionError(option, number, expected)


def take(
    network: nn.Module, layer: MoE, index: Sequence[int], heirs: Sequence[int] | None = None
) -> MoE:
    """Replace a layer by one with the experts ``index`` of it, as ``experts.take_experts`` does.

    Returns the new layer. An option of the router that is invalid for so many experts raises
    ``ConfigError``.
    """
    try:
        new = take_experts(layer, index, heirs)
    except OptionError as error:
        section = "moe" if error.name == "num_experts" else "router"
        problem = f"{section}.{error.name}{error.problem}"
        cure = "keep another number, or change an option with the edit, as in router.k=1"
        raise ConfigError(
            f"{problem}. The edit leaves {len(index)} experts, and the router has to work with "
            f"them: {cure}"
        ) from error
    replace_layer(network, layer, new)
    return new


def replace_layer(network: nn.Module, old: MoE, new: MoE) -> None:
    """Put ``new`` in the place, or the places, of ``old``."""
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new


def describe(network: Backbone, config: Config) -> None:
    """Set the numbers of experts and the options of banks in a configuration to a network's.

    Values of all layers are those of ``moe`` and ``expert``; what differs is in ``layers``.
    """
    layers = routed_layers(network)
    if not layers or config.moe.control is not None:  # a control has its sizes from its cost
        return
    config.moe.num_experts = mode(layer.router.num_experts for layer in layers)
    options = [_options(layer) for layer in layers]
    names = [settings_of(config, number).expert["name"] for number in range(len(layers))]
    if len({*names}) == 1 and all(each == options[0] for each in options):
        changed = _changed(config.expert, options[0])
        config.expert = {**config.expert, **changed}
    for number, layer in enumerate(layers):
        settings, shared = settings_of(config, number), layer.shared
        has = {
            "moe.num_experts": (settings.moe.num_experts, layer.router.num_experts),
            "moe.shared": (settings.moe.shared, 0 if shared is None else shared.num_experts),
        }
        changes = {key: now for key, (before, now) in has.items() if before != now}
        changes |= {f"expert.{k}": v for k, v in _changed(settings.expert, options[number]).items()}
        written: list[Change] = [("", f"{LAYERS}.{number}.{k}", v) for k, v in changes.items()]
        config.layers = change_layers(config.layers, written)


def _options(layer: MoE) -> dict[str, Any]:
    given = arguments_of(layer.bank)
    return {name: value for name, value in given.items() if name not in ("dim", "num_experts")}


def _changed(section: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a bank other than those of a section."""
    held = {**EXPERTS.options(section["name"]), **section}
    return {name: value for name, value in options.items() if held.get(name) != value}
