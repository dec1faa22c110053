"""Starting and resuming a run in a folder, and training from Python."""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routers import ConfigError

from ..config.auto import AUTO
from ..config.compose import CONFIG, compose, path_errors, user_path
from ..config.overrides import load_yaml
from ..config.schema import Config
from .edit import initialize_run, new_run, old_run
from .run_dir import (
    RESULT,
    first_arguments,
    last_checkpoint,
    locked,
    new_run_dir,
    note_data,
    note_start,
    read_json,
)

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation
    from .run import Run

#: Starts a run, or resumes the one that is in its folder already.
START_OR_RESUME = f"resume={AUTO}"

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
        if run.rank.rank == 0:
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
    from ..training.collectives import agreed
    from ..training.devices import join_ranks

    rank = join_ranks(config.trainer)
    with ExitStack() as held:

        def build() -> "Run":
            return new_run(config, rank) if folder is None else old_run(config, rank)

        def place() -> tuple[Path, Path | None]:
            if folder is None:
                made = held.enter_context(new_run_dir(run.config))
                note_data(made, run.data)
                return made, None
            held.enter_context(locked(setting, folder))
            note_data(folder, run.data)
            return folder, last_checkpoint(folder, run.module)

        run = agreed(build)
        made, checkpoint = agreed(place, by_first=True)
        if folder is not None and checkpoint is None:
            agreed(lambda: initialize_run(run))
        yield run, made, checkpoint


def resumed_from(overrides: Sequence[str]) -> Path | None:
    """The folder that the last ``resume=`` names, if any; ``ConfigError`` if no run is there.

    ``resume=auto`` names the folder ``out``, if a run is there.
    """
    named, out = _last_value(overrides, "resume"), _last_value(overrides, "out")
    if named is None:
        return None
    if named == AUTO and out is None:
        raise ConfigError(f"{START_OR_RESUME}: needs out=FOLDER, where the run starts or continues")
    folder = user_path(out if named == AUTO and out is not None else named)
    with path_errors(f"resume={folder}"):
        exists = (folder / CONFIG).exists()
    if not exists and named != AUTO:
        raise ConfigError(f"resume={folder}: no run is there (no {CONFIG} in it)")
    return folder if exists else None


def _last_value(overrides: Sequence[str], key: str) -> str | None:
    """The last value of a key on the command line, None without one."""
    named = [text.partition("=")[2] for text in overrides if text.startswith(f"{key}=")]
    return named[-1] if named and named[-1] not in ("", "null") else None


def resumed(folder: Path, overrides: Sequence[str]) -> Config:
    """The configuration of a resumed run; ``ConfigError`` for what would make it another run."""
    changes = changes_of(folder, overrides)
    for text in changes:
        if text.partition("=")[0] not in MAY_CHANGE:
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration; only these may change: "
                f"{', '.join(MAY_CHANGE)}. Anything else is a new run"
            )
    return compose(changes, base=load_yaml(folder / CONFIG))


def changes_of(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Changes of a command to the run of a folder that it resumes.

    With ``resume=auto`` it is compared with the command that started the run; ``ConfigError`` for
    what would make it another run.
    """
    if START_OR_RESUME not in overrides:
        return [text for text in overrides if not text.startswith("resume=")]
    first = first_arguments(folder)
    if first is None:
        return []

    def fixed(words: Sequence[str]) -> list[str]:
        return sorted(t for t in words if t.partition("=")[0] not in (*MAY_CHANGE, "out", "resume"))

    if fixed(first) != fixed(overrides):
        raise ConfigError(
            f"{START_OR_RESUME}: the run in {folder} was started with other settings, "
            f"{' '.join(fixed(first)) or 'none'}; give the same, or choose another out"
        )
    return [t for t in overrides if t not in first and not t.startswith(("out=", "resume="))]
