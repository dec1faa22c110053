"""A trained run under other settings of its router or capacity, or with another router."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from routers import ConfigError, OptionError, Router

from .._task import Backbone
from ..config.layers import key_in_layer
from .stored import stored_config, unfilled, with_weights
from .trained import TRAINING
from .weights import LAST, weights_of

if TYPE_CHECKING:
    from .run import Run

#: Sections that an alternative may set.
SECTIONS = ("router", "moe", "layers")


class Alternative(NamedTuple):
    """Other settings of a trained run.

    Attributes:
        settings: ``key=value``, one or more.
        run: with the trained weights.
        untrained: names of tensors of the router that have no trained counterpart of their name
            and shape; they are as before training.
    """

    settings: tuple[str, ...]
    run: "Run"
    untrained: list[str]


def read_alternatives(written: Any) -> list[tuple[str, ...]]:
    """Settings of each alternative; ``ConfigError`` for a key of another section.

    >>> read_alternatives(["router.k=1", "router=sigmoid router.k=2"])
    [('router.k=1',), ('router=sigmoid', 'router.k=2')]
    """
    if not isinstance(written, list) or not all(isinstance(each, str) for each in written):
        raise OptionError("alternatives", written, "a list such as [router.k=1, moe.capacity=1.0]")
    found = [_settings(each) for each in written]
    for setting in (setting for settings in found for setting in settings):
        key, equals, _ = setting.lstrip("+~").partition("=")
        if key_in_layer(key) in TRAINING:
            expected = "a setting that has an effect after training"
            raise OptionError("alternatives", setting, expected)
        if key.split(".")[0] not in SECTIONS or not equals:
            expected = f"settings of {', '.join(SECTIONS)} such as router.k=1"
            raise OptionError("alternatives", setting, expected)
    return found


def _settings(written: str) -> tuple[str, ...]:
    """The settings of one alternative."""
    try:
        found = tuple(shlex.split(written))
    except ValueError as error:
        raise OptionError("alternatives", written, "settings with closed quotes") from error
    if not found:
        raise OptionError("alternatives", written, "one or more settings such as router.k=1")
    return found


def load_alternative(
    folder: Path, overrides: Sequence[str], settings: tuple[str, ...], checkpoint: str = LAST
) -> Alternative:
    """A trained run with further settings; a new router takes over what fits of the trained one.

    Other arguments are those of ``load``; the data is that of the training.

    Raises:
        ConfigError: if the settings cannot work, nothing fits of a router that has parameters, or
            anything but routers changes its shape.
    """
    from .run import Run

    words = (*(text for text in overrides if not text.startswith("task.")), *settings)
    trained = weights_of(folder, checkpoint)
    try:
        run = unfilled(Run, stored_config(folder, *words), folder, words)
        weights, untrained = _with_trained(run.module.backbone, trained)
        run = with_weights(run, weights, words)
        _check_routers(run.module.backbone, untrained)
    except ConfigError as error:
        raise ConfigError(f"alternatives={' '.join(settings)}: {error}") from error
    return Alternative(settings, run, untrained)


def _with_trained(
    network: Backbone, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Trained weights with the tensors of new routers, and the names of the untrained of these."""
    built, starts = network.state_dict(), tuple(_routers(network))
    own = [key for key in built if key.startswith(starts)]
    fits = {key for key in own if key in weights and weights[key].shape == built[key].shape}
    found = {key: value for key, value in weights.items() if not key.startswith(starts)}
    found |= {key: weights[key] if key in fits else built[key] for key in own}
    return found, [key for key in own if key not in fits]


def _check_routers(network: Backbone, untrained: Sequence[str]) -> None:
    """Raise ``ConfigError`` if all parameters of a router are untrained."""
    for start, router in _routers(network).items():
        parameters = {start + name for name, _ in router.named_parameters()}
        if parameters and parameters <= {*untrained}:
            raise ConfigError(
                f"{type(router).__name__} has no parameter of the name and shape of a trained one; "
                "choose a router with the same gate"
            )


def _routers(network: Backbone) -> dict[str, Router]:
    """The routers of a network by the start of the names of their tensors."""
    from ..routes.collection import moe_layers

    layers = moe_layers(network).items()
    return {f"{name}.router.".lstrip("."): layer.router for name, layer in layers}
