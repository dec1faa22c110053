"""``python -m sweeps``: a comparison from the command line."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console

from routers import ConfigError, bad_value
from tasks import user_path

from ._config import compose
from ._folder import read_sweep, read_sweeps
from ._help import help_text, list_text
from ._leaderboard import write_leaderboard, write_tables
from ._lock import alone
from ._plan import LOCK, Plan, make_plan
from ._pool import StoppedSweepError
from ._proxy import PORTS, serve
from ._scale_law import scale_report
from ._store import PROXY_PORT, study_url, without_password
from ._sweep import run_sweep
from ._watch import Board, Plain
from .report.build import write_pages, write_report

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
    if rest and rest[0] in COMMANDS:
        return COMMANDS[rest[0]](rest[1:])
    config = compose(rest)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(OmegaConf.structured(config)), end="")
        return 0
    return _sweep(make_plan(config))


def _sweep(plan: Plan) -> int:
    console = Console()
    for note in plan.notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    if not plan.config.quiet:
        url = without_password(study_url(plan.config.storage, plan.folder))
        console.print(f"Watch the study in a browser: optuna-dashboard {url}", soft_wrap=True)
    board = console.is_terminal and not plan.config.quiet
    watch = (Board if board else Plain)(console, plan.config.workers)
    missing = run_sweep(plan, watch)
    with alone(plan.folder / LOCK):  # machines that share the folder end at the same time
        _show(console, write_leaderboard(plan.folder), write_report(plan.folder))
    for line in missing:
        print(f"error: {line}", file=sys.stderr)
    return FAILED if missing else 0


def _report(arguments: Sequence[str]) -> int:
    """``report DIR… [out=DIR]``: tables and report anew, of several sweeps as one."""
    folders, settings = _folders_and_settings(arguments)
    if not folders or settings.keys() - {"out"}:
        raise ConfigError("report: expected report DIR… [out=DIR], each DIR the folder of a sweep")
    out = user_path(settings["out"]) if "out" in settings else None
    to = out or (folders[0] if len(folders) == 1 else Path.cwd())
    sweep = read_sweep(folders[0]) if len(folders) == 1 else read_sweeps(folders)
    to.mkdir(parents=True, exist_ok=True)
    _show(Console(), write_tables(sweep, to), write_pages(sweep, to))
    return 0


def _scale(arguments: Sequence[str]) -> int:
    """``scale DIR… at=N``: the learning rate of a model of N active parameters."""
    folders, settings = _folders_and_settings(arguments)
    if not folders or settings.keys() != {"at"}:
        raise ConfigError("scale: expected scale DIR… at=N, N the larger model's active parameters")
    try:
        at = float(settings["at"])
    except ValueError:
        raise bad_value("at", settings["at"], "a number of active parameters above 0") from None
    print(scale_report(folders, at))
    return 0


def _proxy(arguments: Sequence[str]) -> int:
    """``proxy storage=URL [host=HOST] [port=PORT]``: serve a database to many workers."""
    folders, settings = _folders_and_settings(arguments)
    if folders or "storage" not in settings or settings.keys() - {"storage", "host", "port"}:
        raise ConfigError("proxy: expected proxy storage=URL [host=HOST] [port=PORT]")
    port = settings.get("port", str(PROXY_PORT))
    if not (port.isdecimal() and int(port) in PORTS):
        raise bad_value("port", port, f"an integer from {PORTS[0]} to {PORTS[-1]}")
    serve(settings["storage"], settings.get("host", "localhost"), int(port), Console())
    return 0


def _folders_and_settings(arguments: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """What a command is given: folders, and ``key=value``."""
    folders = [user_path(text) for text in arguments if "=" not in text]
    return folders, dict(text.split("=", 1) for text in arguments if "=" in text)


def _show(console: Console, table: str, report: Path) -> None:
    """The leaderboard, and where the report is."""
    console.print(table, soft_wrap=True, highlight=False, markup=False)
    console.print(f"The report is {report}", soft_wrap=True, highlight=False, markup=False)


#: Words that come first and ask for something else than a sweep.
COMMANDS = {"report": _report, "scale": _scale, "proxy": _proxy}
