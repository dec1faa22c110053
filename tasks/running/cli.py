"""``python -m tasks``: one training from the command line, or the use of one."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from experts import INTERVENTIONS
from routers import ConfigError
from routers.blocks import is_distributed
from routers.plugins import Registry

from ..config.compose import compose, to_yaml
from ..config.help import USAGE, help_text, list_text
from ..config.schema import MAX_TIME, Config
from ..edits import EDITS
from ..training.divergence import DivergedError
from ..training.optimizers import OPTIMIZERS
from ..training.schedules import SCHEDULES
from ..training.signals import StoppedError
from .edit import initialize_run, new_run, old_run
from .launch import RankDiedError
from .own_parts import PART_COMMANDS
from .result import print_result
from .run_dir import (
    CHECKPOINT,
    RESULT,
    check_unused,
    last_checkpoint,
    last_validation,
    note_start,
    read_json,
    set_result_aside,
)
from .train import (
    START_OR_RESUME,
    changes_of,
    finished,
    held_run,
    resumed,
    resumed_from,
)
from .use import COMMANDS, use
from .validate import check_ranges

if TYPE_CHECKING:
    from rich.console import Console

BAD_CONFIG = 2
FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    flags = {text for text in arguments if text.startswith("-")}
    overrides = [text for text in arguments if text not in flags]
    usages = {name: command.usage for name, command in COMMANDS.items()}
    usages |= {name: command.usage for name, command in PART_COMMANDS.items()}
    command = overrides.pop(0) if overrides and overrides[0] in usages else None
    try:
        if unknown_flags := flags - {"--help", "-h", "--list", "--cfg"}:
            raise ConfigError(f"{min(unknown_flags)}: unknown; allowed: --help, --list, --cfg")
        if command is not None and flags - {"--help", "-h"}:
            raise ConfigError(f"{command}: takes no flag but --help")
        if command is not None and flags:
            print(f"{usages[command]}\n\n{USAGE}", end="")
        elif command in PART_COMMANDS:
            return PART_COMMANDS[command].run(overrides)
        elif command is not None:
            return _use(command, overrides)
        elif flags & {"--help", "-h"}:
            named = {text.partition("=")[0].removesuffix(".name") for text in overrides}
            print(help_text(_configuration(overrides)[0], named))
        elif "--list" in flags:
            from ..training.loggers import LOGGERS  # seconds, as the callbacks
            from ..training.own_callbacks import CALLBACKS

            further: Sequence[Registry[Any]] = (
                *(OPTIMIZERS, SCHEDULES, CALLBACKS, LOGGERS),
                *(EDITS, INTERVENTIONS),
            )
            print(list_text(overrides, {each.key: each for each in further}))
        elif "--cfg" in flags:
            print(to_yaml(_checked(overrides)), end="")
        else:
            return _train(overrides)
    except ConfigError as error:
        if _is_first():  # an error of one process is that of all
            print(f"error: {one_line(str(error))}", file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:  # while training a signal is answered with a checkpoint
        print("stopped by SIGINT before training began", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _configuration(overrides: Sequence[str]) -> tuple[Config, Path | None]:
    """The configuration of a command line, and the folder of the run if it resumes one."""
    folder = resumed_from(overrides)
    if folder is None:
        config = compose([text for text in overrides if text != START_OR_RESUME])
    else:
        config = resumed(folder, overrides)
    check_ranges(config)
    return config, folder


def _use(command: str, words: Sequence[str]) -> int:
    import lightning.pytorch  # noqa: F401, whose import sets the levels that quiet changes

    quiet()
    try:
        use(command, words)
    except (KeyboardInterrupt, SystemExit):  # Lightning makes Ctrl-C an exit
        print("stopped by SIGINT; nothing was written", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _checked(overrides: Sequence[str]) -> Config:
    """The configuration of a command line, after all checks that come before training."""
    config, folder = _configuration(overrides)
    quiet()
    if folder is None:
        run = new_run(config)
        check_unused(config)
        return run.config
    run = old_run(config)
    if last_checkpoint(folder, run.module) is None:
        initialize_run(run)
    return run.config


def _train(overrides: Sequence[str]) -> int:
    config, resume = _configuration(overrides)
    # the training machinery takes seconds to import: errors of the configuration come first
    import lightning.pytorch  # noqa: F401, whose import sets the levels that quiet changes
    from rich.console import Console

    quiet()
    console = Console()
    changes = [] if resume is None else changes_of(resume, overrides)
    if resume is not None and _show_finished(console, config, resume, changes):
        return 0
    with held_run(config, resume, f"resume={resume}") as (run, folder, checkpoint):
        # another process may have been faster
        if resume is not None and _show_finished(console, config, resume, changes):
            return 0
        command = f"python -m tasks resume={folder}"
        try:
            if _is_first():
                if _changes_limit(changes):
                    set_result_aside(folder)
                note_start(folder, run.config, overrides)
            result = run.train(folder, checkpoint, console)
        except StoppedError as stop:
            return _stopped(stop.signum, command, last_validation(folder, run.task.score.name))
        except (KeyboardInterrupt, SystemExit):
            # Ctrl-C outside of the loops, which answer it; Lightning makes it an exit
            known = last_validation(folder, run.task.score.name)
            return _stopped(signal.SIGINT, command, known)
        except RankDiedError as error:
            return _failed(f"{error}; resume from the last checkpoint with: {command}")
        except DivergedError as error:
            path = folder / CHECKPOINT
            kept = f"The last good checkpoint is {path}. " if path.exists() else ""
            cure = "Start a new run with a lower optimizer.lr and another out, or look at the data"
            return _failed(f"{error}. {kept}{cure}")  # a resumed run keeps its rate
        except OSError as error:
            problem = f"{folder}: {error.strerror or error}"
            return _failed(f"{problem}; fix the problem, then resume with: {command}")
        if _is_first():
            _show(console, result, folder)
    return 0


def _is_first() -> bool:
    """Whether this is the first process of a run, or its only one."""
    return not is_distributed() or torch.distributed.get_rank() == 0


def _changes_limit(changes: Sequence[str]) -> bool:
    return any(text.startswith(f"{MAX_TIME}=") for text in changes)


def _show_finished(
    console: "Console", config: Config, folder: Path, changes: Sequence[str]
) -> bool:
    """Show the result of a resumed run that has nothing left to do; False if it has.

    ``ConfigError`` for changes that come too late.
    """
    if not (folder / RESULT).exists():
        return False
    if _changes_limit(changes) and read_json(folder / RESULT).get("stopped") == MAX_TIME:
        return False
    if changes:
        raise ConfigError(
            f"resume={folder}: finished already, so {' '.join(changes)} changes nothing; "
            "start a new run with another out"
        )
    if (result := finished(folder, config)) is None:
        return False
    console.print(f"{folder} is finished already; nothing is left to do.", soft_wrap=True)
    _show(console, result, folder)
    return True


def _show(console: "Console", result: dict[str, Any], folder: Path) -> None:
    print_result(console, result)
    console.print(f"Everything is in {folder}", soft_wrap=True)
    if key := result.get("stopped"):  # older runs have none
        further = f"; continue with: python -m tasks resume={folder} {MAX_TIME}=null"
        cure = further if key == MAX_TIME else ""
        console.print(f"{key} ended it before its last step{cure}", soft_wrap=True)


def _stopped(signum: int, command: str, known: str) -> int:
    name = signal.Signals(signum).name
    so_far = known or "before its first validation"
    if _is_first():
        print(f"stopped by {name} ({so_far}); resume with: {command}", file=sys.stderr)
    return 128 + signum


def _failed(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return FAILED


def one_line(text: str) -> str:
    r"""Escape line ends and whatever else does not print, which arguments and names may hold.

    >>> print(one_line("out=a\nb"))
    out=a\nb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quiet() -> None:
    """Leave the screen to the progress bar and the table; warnings of ours still show."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
