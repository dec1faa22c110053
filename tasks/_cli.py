"""``python -m tasks``: one training from the command line."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence

from rich.console import Console

from routers import ConfigError, load_plugins

from ._checkpoints import StoppedError
from ._config import PARTS, compose, load_yaml, to_yaml
from ._diverged import DivergedError
from ._folder import CONFIG, RESULT, existing_folder, last_checkpoint, open_folder, read_json
from ._help import help_text, list_text
from ._run import Run
from ._table import print_result

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
            _load_named_plugins(overrides)
            print(help_text(_chosen(overrides)))
        elif "--list" in flags:
            _load_named_plugins(overrides)
            print(list_text())
        elif "--cfg" in flags:
            print(to_yaml(compose(overrides)), end="")
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
    quiet()
    console = Console()
    resumed = [text.partition("=")[2] for text in overrides if text.startswith("resume=")]
    if resumed and resumed[-1] not in ("", "null"):
        folder = existing_folder(resumed[-1])
        if (folder / RESULT).exists():
            console.print(f"{folder} is finished already; nothing was left to do.")
            print_result(console, read_json(folder / RESULT), folder)
            return 0
        run = Run(compose(_only_trainer(overrides), base=load_yaml(folder / CONFIG)))
        checkpoint = last_checkpoint(folder, run.module)
    else:
        run = Run(compose(overrides))
        folder, checkpoint = open_folder(run.config), None
    try:
        result = run.train(folder, checkpoint, console)
    except StoppedError as stop:
        print(f"stopped by {stop}; go on with: python -m tasks resume={folder}", file=sys.stderr)
        return 128 + stop.signum
    except DivergedError as error:
        print(
            f"error: {error}. The last good checkpoint is in {folder / 'checkpoints'}; "
            "try a lower optimizer.lr, or look at the data",
            file=sys.stderr,
        )
        return FAILED
    print_result(console, result, folder)
    return 0


def _only_trainer(overrides: Sequence[str]) -> list[str]:
    """What may change when a run goes on; anything else would make it another run."""
    kept = [text for text in overrides if not text.startswith("resume=")]
    for text in kept:
        if not text.startswith("trainer."):
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration; only trainer.* may change"
            )
    return kept


def _chosen(overrides: Sequence[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in overrides)
    return {key: pairs[key] for key in PARTS if key in pairs}


def _load_named_plugins(overrides: Sequence[str]) -> None:
    load_plugins(compose([t for t in overrides if t.startswith("plugins=")]).plugins)


def quiet() -> None:
    """Leave the screen to the progress bar and the table; warnings of ours still show."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
