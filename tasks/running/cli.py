"""``python -m tasks``: one training from the command line."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from routers import ConfigError
from routers.plugins import load_plugins

from ..config.compose import PARTS, compose, to_yaml
from ..config.help import help_text, list_text
from ..config.schema import Config
from ..training.divergence import DivergedError
from ..training.signals import StoppedError
from .launch import RankDiedError, RankError
from .result import print_result
from .run_dir import CHECKPOINT, RESULT, note_start, read_json
from .train import held_run, resumed, resumed_from

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
            named = {text.partition("=")[0].removesuffix(".name") for text in overrides}
            print(help_text(_configuration(overrides)[0], [key for key in PARTS if key in named]))
        elif "--list" in flags:
            load_plugins(compose([t for t in overrides if t.startswith("plugins=")]).plugins)
            print(list_text())
        elif "--cfg" in flags:
            print(to_yaml(_configuration(overrides)[0]), end="")
        else:
            return _train(overrides)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:  # while training a signal is answered with a checkpoint
        print("stopped by SIGINT before training began", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _configuration(overrides: Sequence[str]) -> tuple[Config, Path | None]:
    """The configuration of a command line, and the folder of the run if it resumes one."""
    folder = resumed_from(overrides)
    return (compose(overrides) if folder is None else resumed(folder, overrides)), folder


def _train(overrides: Sequence[str]) -> int:
    config, resume = _configuration(overrides)
    # the training machinery takes seconds to import: errors of the configuration come first
    import lightning.pytorch  # noqa: F401, whose import sets the levels that quiet changes
    from rich.console import Console

    quiet()
    console = Console()
    if resume is not None and (resume / RESULT).exists():
        if len(overrides) > 1:
            raise ConfigError(
                f"resume={resume}: finished already, so {' '.join(overrides)} changes nothing; "
                "start a new run with another out"
            )
        console.print(f"{resume} is finished already; nothing is left to do.", soft_wrap=True)
        print_result(console, read_json(resume / RESULT), resume)
        return 0
    with held_run(config, resume, f"resume={resume}") as (run, folder, checkpoint):
        command = f"python -m tasks resume={folder}"
        try:
            note_start(folder, run.config, overrides)
            result = run.train(folder, checkpoint, console)
        except StoppedError as stop:
            return _stopped(stop.signum, command)
        except (KeyboardInterrupt, SystemExit):
            # Ctrl-C outside of the loops, which answer it; Lightning makes it an exit
            return _stopped(signal.SIGINT, command)
        except (RankDiedError, RankError) as error:
            return _failed(f"{error}; resume from the last checkpoint with: {command}")
        except DivergedError as error:
            path = folder / CHECKPOINT
            kept = f"The last good checkpoint is {path}. " if path.exists() else ""
            cure = "Start a new run with a lower optimizer.lr and another out, or look at the data"
            return _failed(f"{error}. {kept}{cure}")  # a resumed run keeps its rate
        except OSError as error:
            problem = f"{folder}: {error.strerror or error}"
            return _failed(f"{problem}; fix the problem, then resume with: {command}")
        print_result(console, result, folder)
    return 0


def _stopped(signum: int, command: str) -> int:
    name = signal.Signals(signum).name
    print(f"stopped by {name}; resume with: {command}", file=sys.stderr)
    return 128 + signum


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return FAILED


def quiet() -> None:
    """Leave the screen to the progress bar and the table; warnings of ours still show."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
