"""A trained run as a model: the stored configuration with its weights loaded."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routers import ConfigError

from ..config.compose import CONFIG, user_path
from ..config.layers import key_in_layer
from ..config.schema import Config
from ..readers import DATA, Source
from .checkpoint_parts import read_step
from .run_dir import CHECKPOINT
from .stored import filled, stored_config
from .weights import LAST

if TYPE_CHECKING:
    from .run import Run

#: Keys, and sections, that may differ from those of the training: the rest has no effect after it.
MAY_CHANGE = (
    "task",
    "router",
    "expert",
    "moe",
    "layers",
    "plugins",
    "trainer.batch_size",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.precision",
    "trainer.threads",
)

#: Keys and sections below those that only training uses.
TRAINING = ("task.augmentation", "moe.expert_dropout")


def load(
    folder: Path | str, *overrides: str, labelled: bool = True, checkpoint: str = LAST
) -> "Run":
    """The trained model of a run, or of its export.

    The ``Run`` has ``module`` in evaluation mode, ``task``, ``data``, ``test`` and ``predict``.

    Classes, statistics and prepared routers are those of the training data, which is read again
    and must be what it was. Parameters are float32; float64 for ``trainer.precision=64-true``.

    With ``task.data.path=…`` the test split is the other data: its test split if it comes with
    one, else all of it.

    Args:
        folder: of a run, finished or not.
        overrides: ``key=value`` for settings that need no training, such as ``router.k=1``,
            ``moe.capacity=1.25`` or ``task.data.path=other.csv``.
        labelled: False if other data may lack labels; predictions need none.
        checkpoint: ``last``, or another in the folder ``checkpoints``: ``best``, ``step-NUMBER``.

    Raises:
        ConfigError: if there is no run or no valid checkpoint, an override changes the shapes of
            what was trained, the training data is missing or has changed, or other data does
            not fit to it.
    """
    folder = user_path(str(folder))
    trained = stored_config(folder)
    config = stored_config(folder, *overrides)
    _check_changes(trained, config, overrides)
    other = _other_data(trained, config)
    run = load_as(config, folder, *overrides, checkpoint=checkpoint)
    if other is not None:
        data = run.task.other_data(other, labelled)
        if data.sha256 != run.data.sha256:  # it may be the training data under another name
            run.data = data
    return run


def load_as(config: Config, folder: Path, *overrides: str, checkpoint: str = LAST) -> "Run":
    """The trained model of a run under a configuration of the same shapes.

    Arguments are those of ``load``; ``config`` already has the ``overrides``, and is changed.
    """
    from .run import Run

    return filled(Run, config, folder, *overrides, checkpoint=checkpoint)


def origin(run: "Run", folder: Path, checkpoint: str, split: str) -> dict[str, Any]:
    """The run, checkpoint and split that results were made from, as plain values."""
    path = folder / CHECKPOINT.with_stem(checkpoint)
    return {
        "run": folder.name,
        "config_sha256": hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest(),
        "checkpoint": checkpoint,
        "step": read_step(path) if path.exists() else None,  # an export has none
        "task": run.config.task["name"],
        "router": run.config.router["name"],
        "data": run.data.name,
        "data_sha256": run.data.sha256,
        "split_sha256": run.data.split_sha256,
        "split": split,
    }


def _check_changes(trained: Config, config: Config, overrides: tuple[str, ...]) -> None:
    """Refuse changes without effect, and another task."""
    for text in overrides:
        key = key_in_layer(text.lstrip("+~").partition("=")[0])
        if _is_below(key, TRAINING):
            raise ConfigError(f"{text}: has no effect on a trained run: only training uses it")
        if not _is_below(key, MAY_CHANGE):
            raise ConfigError(
                f"{text}: has no effect on a trained run; only these may change: "
                f"{', '.join(MAY_CHANGE)}"
            )
    if config.task["name"] != trained.task["name"]:
        raise ConfigError(
            f"task={config.task['name']}: the run was trained on task={trained.task['name']}; "
            "start a new run for another task"
        )


def _is_below(key: str, sections: tuple[str, ...]) -> bool:
    """Whether a key is one of the sections, or in one."""
    return any(f"{key}.".startswith(f"{section}.") for section in sections)


def _other_data(trained: Config, config: Config) -> dict[str, Any] | None:
    """The changed ``task.data``, if any; the training data takes its place in ``config``."""
    was, now = (each.task.get("data") for each in (trained, config))
    if was is None or now is None or was == now:
        return None
    config.task["data"] = was
    part: Any = DATA.get_part(now["name"]) if "name" in now else Source
    if part.places is None:
        return dict(now)
    for key in {**was, **now}:
        if key not in part.places and was.get(key) != now.get(key):
            raise ConfigError(
                f"task.data.{key}={now.get(key)}: the run was trained with {was.get(key)}; "
                f"of other data only these may change: {', '.join(part.places)}"
            )
    if all(was.get(key) == now.get(key) for key in ("path", "hub")):
        raise ConfigError(
            "task.data: names the training data; give other data with task.data.path=…"
        )
    return dict(now)
