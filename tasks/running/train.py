"""Starting and resuming a run in a folder, and training from Python."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routers import ConfigError

from ..config.compose import CONFIG, compose, path_errors, user_path
from ..config.overrides import load_yaml
from ..config.schema import Config
from .run_dir import RESULT, last_checkpoint, locked, new_run_dir, note_start, read_json

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation
    from .run import Run

#: Keys that a resumed run may change; with any other it would be a new run.
MAY_CHANGE = (
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.accelerator",
    "trainer.threads",
    "trainer.progress",
    "trainer.checkpoint",
    "trainer.log_every_n_steps",
    "trainer.tune_allocator",
)


def train(
    out: Path, overrides: Sequence[str], on_validation: "OnValidation | None" = None
) -> dict[str, Any]:
    """Train the run in a folder to its end; returns what ``result.json`` holds.

    Args:
        out: the run's folder. A finished run is read. An unfinished one resumes from its last
            checkpoint with its stored configuration; ``overrides`` are ignored.
        overrides: ``key=value`` as for ``python -m tasks``, without ``out``.
        on_validation: called after the last validation of every epoch with the epoch, from 1, and
            values named as in ``result.json``; an error that it raises ends the training.

    Raises:
        ConfigError: if the run cannot work, or another process trains in the folder.
        DivergedError: if a loss or a parameter stops being finite.
        StoppedError: if a signal stopped it; a checkpoint is there.
        RankDiedError: if one of its processes is gone, on several devices.
    """
    from rich.console import Console

    exists = (out / CONFIG).exists()
    arguments = [f"resume={out}"] if exists else [*overrides, f"out={out}"]
    config = resumed(out, arguments) if exists else compose(arguments)
    if (result := finished(out, config)) is not None:
        return result
    with held_run(config, out if exists else None, f"out={out}") as (run, folder, checkpoint):
        if (result := finished(out, config)) is not None:  # while this one waited
            return result
        note_start(folder, run.config, arguments)
        return run.train(folder, checkpoint, Console(file=io.StringIO()), on_validation)


def finished(folder: Path, config: Config) -> dict[str, Any] | None:
    """The result of a run that has nothing left to do; None if its baseline is not fitted yet."""
    if not (folder / RESULT).exists():
        return None
    result = dict(read_json(folder / RESULT))
    return None if config.baseline and result["baseline"] is None else result


@contextmanager
def held_run(
    config: Config, folder: Path | None, setting: str
) -> Iterator[tuple["Run", Path, Path | None]]:
    """A run, its folder, held for this process, and the checkpoint to continue from.

    ``folder`` is that of an unfinished run, None for a new one; ``setting`` named it, for errors.
    """
    from .run import Run

    if folder is None:
        run = Run(config)
        run.initialize()
        with new_run_dir(run.config) as made:
            yield run, made, None
    else:
        with locked(setting, folder):
            run = Run(config)
            checkpoint = last_checkpoint(folder, run.module)
            if checkpoint is None:
                run.initialize()
            yield run, folder, checkpoint


def resumed_from(overrides: Sequence[str]) -> Path | None:
    """The folder that the last ``resume=`` names, if any; ``ConfigError`` if no run is there."""
    named = [text.partition("=")[2] for text in overrides if text.startswith("resume=")]
    if not named or named[-1] in ("", "null"):
        return None
    folder = user_path(named[-1])
    with path_errors(f"resume={folder}"):
        exists = (folder / CONFIG).exists()
    if not exists:
        raise ConfigError(f"resume={folder}: no run is there (no {CONFIG} in it)")
    return folder


def resumed(folder: Path, overrides: Sequence[str]) -> Config:
    """The configuration of a resumed run; ``ConfigError`` for what would make it another run."""
    changes = [text for text in overrides if not text.startswith("resume=")]
    for text in changes:
        if text.partition("=")[0] not in MAY_CHANGE:
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration; only these may change: "
                f"{', '.join(MAY_CHANGE)}. Anything else is a new run"
            )
    return compose(changes, base=load_yaml(folder / CONFIG))
