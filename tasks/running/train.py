"""Training into a folder from Python: start, resume, or read a finished run."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.compose import CONFIG, compose
from .resume import resumed
from .run_dir import (
    RESULT,
    add_command,
    last_checkpoint,
    locked,
    new_run_dir,
    read_json,
    update_config,
)

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation


def train(
    out: Path, overrides: Sequence[str], on_validation: "OnValidation | None" = None
) -> dict[str, Any]:
    """Train the run in a folder to its end and return its result.

    Args:
        out: the run's folder. A finished run is read. An unfinished one resumes from its last
            checkpoint with its stored configuration; ``overrides`` are ignored.
        overrides: ``key=value`` as for ``python -m tasks``, without ``out``.
        on_validation: called after every validation with the epoch, from 1, and values named
            as in ``result.json``; an error that it raises ends the training.

    Returns:
        What ``result.json`` holds.

    Raises:
        ConfigError: where the run cannot work, or another process trains in the folder.
        DivergedError: where a loss or a parameter stops being finite.
        StoppedError: where a signal stopped it; a checkpoint is there.
        RankDiedError: where one of its processes is gone, on several devices.
    """
    from rich.console import Console

    from .run import Run

    silent = Console(file=io.StringIO())
    if (out / RESULT).exists():
        return dict(read_json(out / RESULT))
    if not (out / CONFIG).exists():
        arguments = [*overrides, f"out={out}"]
        run = Run(compose(arguments))
        with new_run_dir(run.config) as folder:
            add_command(folder, arguments)
            return run.train(folder, None, silent, on_validation)
    with locked(f"out={out}", out):
        if (out / RESULT).exists():  # while this one waited
            return dict(read_json(out / RESULT))
        run = Run(resumed(out, [f"resume={out}"]))
        checkpoint = last_checkpoint(out, run.module)
        update_config(out, run.config)
        add_command(out, [f"resume={out}"])
        return run.train(out, checkpoint, silent, on_validation)
