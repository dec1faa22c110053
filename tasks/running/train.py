"""Train into a folder from Python: start, go on, or read what is finished."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.compose import CONFIG, compose
from .resume import resumed
from .run_dir import (
    RESULT,
    add_command,
    held,
    last_checkpoint,
    new_folder,
    read_json,
    update_config,
)

if TYPE_CHECKING:
    from ..training.callbacks import OnValidation


def train(
    out: Path, overrides: Sequence[str], tell: "OnValidation | None" = None
) -> dict[str, Any]:
    """The result of the run in a folder, which starts or goes on as far as that needs.

    Args:
        out: the run's folder. A finished run is read, an unfinished one goes on from its last
            checkpoint, and is the run its folder says, whatever ``overrides`` are.
        overrides: ``key=value`` as for ``python -m tasks``, without ``out``.
        tell: is told of every validation while training: the epoch, from 1, and values as
            ``result.json`` names them; what it raises ends the training.

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
        with new_folder(run.config) as folder:
            add_command(folder, arguments)
            return run.train(folder, None, silent, tell)
    with held(f"out={out}", out):
        if (out / RESULT).exists():  # while this one waited
            return dict(read_json(out / RESULT))
        run = Run(resumed(out, [f"resume={out}"]))
        checkpoint = last_checkpoint(out, run.module)
        update_config(out, run.config)
        add_command(out, [f"resume={out}"])
        return run.train(out, checkpoint, silent, tell)
