"""``python -m sweeps``: a comparison from the command line."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console

from routers import ConfigError

from ._config import compose
from ._help import help_text, list_text
from ._plan import Plan, make_plan
from ._pool import StoppedSweepError
from ._sweep import run_sweep
from ._watch import Board, Plain

BAD_CONFIG = 2
FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        return _command(arguments)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_CONFIG
    except StoppedSweepError as stop:
        print(f"stopped by {stop}; the same command goes on", file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:
        print("stopped by SIGINT; the same command goes on", file=sys.stderr)
        return 128 + signal.SIGINT


def _command(arguments: Sequence[str]) -> int:
    flags = [text for text in arguments if text.startswith("-")]
    rest = [text for text in arguments if text not in flags]
    words = {"--help": help_text, "-h": help_text, "--list": list_text}
    if unknown := set(flags) - {*words, "--cfg"}:
        raise ConfigError(f"{min(unknown)}: unknown; allowed: --help, --list, --cfg")
    for flag in flags:
        if flag in words:
            print(words[flag]())
            return 0
    if rest[:1] == ["report"]:
        return _report(rest[1:])
    config = compose(rest)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(OmegaConf.structured(config)), end="")
        return 0
    return _sweep(make_plan(config))


def _sweep(plan: Plan) -> int:
    console = Console()
    for note in plan.notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    board = console.is_terminal and not plan.config.quiet
    watch = (Board if board else Plain)(console, plan.config.workers)
    missing = run_sweep(plan, watch)
    _answer(plan.folder, console)
    for line in missing:
        print(f"error: {line}", file=sys.stderr)
    return FAILED if missing else 0


def _report(folders: Sequence[str]) -> int:
    if not folders:
        raise ConfigError("report: expected the folder of a sweep, or several")
    from ._report import write_merged_report

    print(f"The report is {write_merged_report([Path(folder) for folder in folders])}")
    return 0


def _answer(folder: Path, console: Console) -> None:
    """The leaderboard, and where the report is."""
    try:
        from ._leaderboard import write_leaderboard  # type: ignore[import-not-found]
        from ._report import write_report  # type: ignore[attr-defined]
    except ImportError as error:
        console.print(f"not there yet: {error}")
        return
    console.print(write_leaderboard(folder), soft_wrap=True, highlight=False, markup=False)
    console.print(f"The report is {write_report(folder)}", soft_wrap=True, highlight=False)
