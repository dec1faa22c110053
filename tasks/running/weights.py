"""Weights of a network in a run's folder, an export, or a file."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from experts import MoE
from routers import ConfigError
from routers.plugins import unknown

from ..config.compose import user_path
from ..readers import DataError
from .export import WEIGHTS, read_weights
from .run_dir import CHECKPOINT, COMMAND, EDITS, RESULT, read_checkpoint, read_state_dict

#: Start of the names of a network's weights in a checkpoint.
PART = "backbone."

#: The checkpoint from which a run resumes; others hold weights alone.
LAST = CHECKPOINT.stem

_SHOWN = 3


def weights_of(place: Path, checkpoint: str = LAST) -> dict[str, Tensor]:
    """Weights of a network; ``ConfigError`` if there are none.

    Args:
        place: folder of a run or of its export, or a file in either.
        checkpoint: name of a checkpoint of the run: ``last``, ``best`` or ``step-NUMBER``.
    """
    exported, path = place / WEIGHTS, place / CHECKPOINT.with_stem(checkpoint)
    if place.is_file():
        exported, path = place, place
    elif checkpoint != LAST and not path.exists():
        names = sorted(each.stem for each in path.parent.glob("*.ckpt"))
        raise unknown("checkpoint", checkpoint, names)
    elif not place.exists():
        raise ConfigError(f"{place}: no such file or folder; give a run's folder, or its weights")
    elif not path.exists() and not exported.is_file():
        cure = f"train first with: python -m tasks resume={place}"
        if (place / RESULT).exists():
            cure = (
                "a sweep keeps them by checkpoints=best or all; train again with the command in "
                f"{place / COMMAND} and another out"
            )
        raise ConfigError(f"{place}: {path} is missing, so no weights are there; {cure}")
    try:
        if exported.is_file() and exported.suffix == Path(WEIGHTS).suffix:
            return read_weights(exported)
        resumable = path == place / CHECKPOINT and not (place / EDITS).exists()
        saved = (read_checkpoint if resumable else read_state_dict)(path)
    except DataError:  # without the library
        raise
    except ConfigError as error:
        raise ConfigError(f"{error}; restore it, or train again") from error
    return {name.removeprefix(PART): saved[name] for name in saved if name.startswith(PART)}


def misfits(built: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Descriptions of the weights that a network has otherwise, or not, or in addition."""
    pairs = {name: (weights.get(name), built.get(name)) for name in [*weights, *built]}
    shapes = {name: tuple(_shape(values) for values in pair) for name, pair in pairs.items()}
    return [
        f"{name} is {now}, and {was} in the checkpoint"
        for name, (was, now) in shapes.items()
        if was != now
    ]


def initialize(network: nn.Module, init: str) -> None:
    """Start from other weights: load those at ``init``; ``ConfigError`` if any does not fit."""
    try:
        weights = weights_of(user_path(init))
    except ConfigError as error:
        raise ConfigError(f"init={error}") from error
    copy_weights(network, weights, init)


def copy_weights(network: nn.Module, weights: Mapping[str, Tensor], init: str) -> None:
    """Load weights of the place ``init``; ``ConfigError`` if any does not fit.

    Routers that replay recorded weights have none, and take none of another router.
    """
    without = tuple(
        f"{name}.router."
        for name, layer in network.named_modules()
        if isinstance(layer, MoE) and layer.router.traits.needs_recorded
        if not layer.router.state_dict()
    )
    weights = {name: values for name, values in weights.items() if not name.startswith(without)}
    if found := misfits(network.state_dict(), weights):
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ConfigError(
            f"init={init}: holds another network: {'; '.join(found[:_SHOWN])}{more}; "
            "give this run the settings of that one (its config.yaml), or other weights"
        )
    network.load_state_dict(weights)


def _shape(values: Tensor | None) -> str:
    return "absent" if values is None else f"of shape {tuple(values.shape)}"
