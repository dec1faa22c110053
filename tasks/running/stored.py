"""The configuration of a run in its folder, and its weights in a run that was built again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor

from routers import ConfigError

from .._task import Data, Task
from ..config.compose import CONFIG, compose
from ..config.overrides import load_yaml
from ..config.schema import Config
from ..readers import DataError
from .run_dir import RESULT, read_json
from .weights import LAST, misfits, weights_of

if TYPE_CHECKING:
    from ..training.module import RoutedModule


class Built(Protocol):
    """The parts of a ``Run``, which is built from a configuration, that are used here."""

    config: Config
    task: Task
    data: Data
    module: "RoutedModule"


R = TypeVar("R", bound=Built)


def stored_config(folder: Path, *overrides: str) -> Config:
    """The configuration of a run, with changes; ``ConfigError`` if no run is there."""
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: no run is there (no {CONFIG} in it)")
    return compose(overrides, base=load_yaml(folder / CONFIG))


def filled(
    build: Callable[[Config], R],
    config: Config,
    folder: Path,
    *overrides: str,
    checkpoint: str = LAST,
) -> R:
    """Build a run by its configuration, in evaluation and with the weights in a folder.

    ``ConfigError`` if there are none, or its data or shapes are others. ``config`` already has the
    ``overrides``, and is changed.
    """
    weights = weights_of(folder, checkpoint)
    return with_weights(unfilled(build, config, folder, overrides), weights, overrides)


def unfilled(
    build: Callable[[Config], R], config: Config, folder: Path, overrides: tuple[str, ...]
) -> R:
    """Build a run by its configuration, untrained, on the data of the run in ``folder``."""
    leave_out_training(config)
    try:
        run = build(config)
    except DataError as error:
        cure = f"put the training data back, or correct its place in {folder / CONFIG}"
        raise ConfigError(f"{error}. Labels and statistics come from it: {cure}") from error
    _check_data(folder, run.data, overrides)
    return run


def with_weights(run: R, weights: Mapping[str, Tensor], overrides: tuple[str, ...]) -> R:
    """The run in evaluation with these weights; ``ConfigError`` if they have other shapes."""
    _check_shapes(run.module.backbone.state_dict(), weights, overrides)
    if run.config.trainer.precision == "64-true":
        run.module.double()
    run.module.backbone.load_state_dict(weights)
    run.module.eval()
    return run


def check_same_data(other: Data, data: Data, cure: str) -> None:
    """Raise ``ConfigError`` unless another run has the data of this one, in the same splits."""
    for name in ("sha256", "split_sha256"):
        if getattr(other, name) != getattr(data, name):
            raise ConfigError(
                f"its data ({other.name}) is not that of this run ({data.name}): {name} differs; "
                f"{cure}"
            )


def leave_out_training(config: Config) -> None:
    """Reset what only a training needs, and what may not be installed where its model is used."""
    config.init, config.freeze = None, []
    config.trainer.logger, config.trainer.callbacks = [], None
    config.trainer.strategy = "auto"
    config.trainer.early_stopping, config.trainer.tune_allocator = None, False
    config.trainer.record_routes = None


def _check_data(folder: Path, data: Data, overrides: tuple[str, ...]) -> None:
    """Refuse training data other than that of the result, which names it by hashes."""
    if not (folder / RESULT).is_file():
        return
    then = read_json(folder / RESULT)["data"]
    for name in ("sha256", "split_sha256"):
        now = getattr(data, name)
        if now != then[name]:
            changes = [text for text in overrides if text.lstrip("+~").startswith("task.")]
            causes = ["it has changed since", *(f"{text} changes it" for text in changes)]
            raise ConfigError(
                f"{folder}: the training data ({data.name}) is not that of the run: {name} was "
                f"{then[name]} and is {now}; {' or '.join(causes)}, and with it the meaning of "
                "the weights: restore it"
            )


def _check_shapes(
    built: Mapping[str, Tensor], weights: Mapping[str, Tensor], overrides: tuple[str, ...]
) -> None:
    """Refuse weights for another model than the configuration describes."""
    for misfit in misfits(built, weights):
        cause = f"{' '.join(overrides)}: changes what was trained" if overrides else CONFIG
        raise ConfigError(
            f"{cause}: {misfit}; change only settings that keep the shapes, or start a new run"
        )
