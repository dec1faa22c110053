"""``python -m tasks``: one training from the command line."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from routers import ConfigError
from routers.plugins import load_plugins

from ..config.compose import PARTS, compose, to_yaml
from ..config.help import help_text, list_text
from ..config.schema import Config
from ..training.divergence import DivergedError
from ..training.signals import StoppedError
from .launch import RankDiedError, RankError
from .result_table import print_result
from .resume import configuration, resumed, resumed_from
from .run_dir import (
    CHECKPOINT,
    RESULT,
    add_command,
    last_checkpoint,
    locked,
    new_run_dir,
    read_json,
    update_config,
)

if TYPE_CHECKING:
    from rich.console import Console

    from .run import Run

BAD_CONFIG = 2
FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    flags = {text for text in arguments if text.startswith("-")}
    overrides = [text for text in arguments if text not in flags]
    try:
        if unknown_flags := flags - {"--help", "-h", "--list", "--cfg"}:
            raise ConfigError(f"{min(unknown_flags)}: unknown; allowed: --help, --list, --cfg")
        if flags & {"--help", "-h"}:
            print(help_text(configuration(overrides), _chosen(overrides)))
        elif "--list" in flags:
            _load_named_plugins(overrides)
            print(list_text())
        elif "--cfg" in flags:
            print(to_yaml(configuration(overrides)), end="")
        else:
            return _train(overrides)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:  # while training a signal is answered with a checkpoint
        print("stopped by SIGINT before training began", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _train(overrides: Sequence[str]) -> int:
    folder = resumed_from(overrides)
    config = compose(overrides) if folder is None else resumed(folder, overrides)
    # the training machinery takes seconds to import: errors of the configuration come first
    from rich.console import Console

    from .run import Run

    quiet()
    console = Console()
    if folder is not None:
        return _resume(folder, config, overrides, console)
    run = Run(config)
    with new_run_dir(run.config) as folder:
        return _work(run, folder, None, overrides, console)


def _resume(folder: Path, config: Config, overrides: Sequence[str], console: "Console") -> int:
    from .run import Run

    if (folder / RESULT).exists():
        if len(overrides) > 1:
            raise ConfigError(
                f"resume={folder}: finished already, so {' '.join(overrides)} changes nothing; "
                "start a new run with another out"
            )
        console.print(f"{folder} is finished already; nothing is left to do.", soft_wrap=True)
        print_result(console, read_json(folder / RESULT), folder)
        return 0
    with locked(f"resume={folder}", folder):
        run = Run(config)
        checkpoint = last_checkpoint(folder, run.module)
        return _work(run, folder, checkpoint, overrides, console)


def _work(
    run: "Run", folder: Path, checkpoint: Path | None, overrides: Sequence[str], console: "Console"
) -> int:
    try:
        update_config(folder, run.config)
        add_command(folder, overrides)
        result = run.train(folder, checkpoint, console)
    except StoppedError as stop:
        return _stopped(folder, stop.signum)
    except (KeyboardInterrupt, SystemExit):
        # Ctrl-C outside of the loops, whose signals end in a checkpoint; Lightning makes it an exit
        return _stopped(folder, signal.SIGINT)
    except (RankDiedError, RankError) as error:
        return _failed(
            f"{error}; resume from the last checkpoint with: python -m tasks resume={folder}"
        )
    except DivergedError as error:
        return _failed(f"{error}. {_kept(folder)}")
    except OSError as error:
        return _failed(
            f"{folder}: {error.strerror or error}; fix the problem, then resume with: "
            f"python -m tasks resume={folder}"
        )
    print_result(console, result, folder)
    return 0


def _stopped(folder: Path, signum: int) -> int:
    name = signal.Signals(signum).name
    print(f"stopped by {name}; resume with: python -m tasks resume={folder}", file=sys.stderr)
    return 128 + signum


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return FAILED


def _kept(folder: Path) -> str:
    """The last good checkpoint of a run that diverged, and a cure; resuming keeps the rate."""
    path = folder / CHECKPOINT
    kept = f"The last good checkpoint is {path}. " if path.exists() else ""
    return f"{kept}Start a new run with a lower optimizer.lr and another out, or look at the data"


def _chosen(overrides: Sequence[str]) -> list[str]:
    """The sections whose part is named."""
    named = {text.partition("=")[0].removesuffix(".name") for text in overrides}
    return [key for key in PARTS if key in named]


def _load_named_plugins(overrides: Sequence[str]) -> None:
    load_plugins(compose([t for t in overrides if t.startswith("plugins=")]).plugins)


def quiet() -> None:
    """Leave the screen to the progress bar and the table; warnings of ours still show."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
