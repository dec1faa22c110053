"""Resuming a run: its stored configuration, and the few keys that may change."""

from collections.abc import Sequence
from pathlib import Path

from routers import ConfigError

from ..config.compose import CONFIG, compose, user_path
from ..config.overrides import load_yaml
from ..config.schema import Config

#: Keys that a resumed run may change; with any other it would be a new run.
MAY_CHANGE = tuple(
    f"trainer.{name}"
    for name in (
        "max_epochs",
        "max_steps",
        "accelerator",
        "threads",
        "progress",
        "log_every_n_steps",
        "tune_allocator",
    )
)


def configuration(overrides: Sequence[str]) -> Config:
    """The configuration of a command line: of a new run, or of a resumed one."""
    folder = resumed_from(overrides)
    return compose(overrides) if folder is None else resumed(folder, overrides)


def resumed_from(overrides: Sequence[str]) -> Path | None:
    """The folder that the last ``resume=`` names, if any does.

    Raises:
        ConfigError: where there is no run in it.
    """
    named = [text.partition("=")[2] for text in overrides if _names_folder(text)]
    if not named or named[-1] in ("", "null"):
        return None
    folder = user_path(named[-1])
    if not (folder / CONFIG).exists():
        raise ConfigError(f"resume={folder}: no run is there (no {CONFIG} in it)")
    return folder


def resumed(folder: Path, overrides: Sequence[str]) -> Config:
    """The configuration of a resumed run.

    Raises:
        ConfigError: for a change that would make it another run.
    """
    changes = [text for text in overrides if not _names_folder(text)]
    for text in changes:
        if text.partition("=")[0] not in MAY_CHANGE:
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration; only these may change: "
                f"{', '.join(MAY_CHANGE)}. Anything else is a new run"
            )
    return compose(changes, base=load_yaml(folder / CONFIG))


def _names_folder(text: str) -> bool:
    return text.startswith("resume=")
