"""Command line of ``python -m sweeps``; modules that a command needs load when it runs."""

import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from routers import ConfigError, OptionError
from tasks import CONF, user_path

if TYPE_CHECKING:
    from ..config.plan import Plan

USAGE = """\
Compare routers: search with equal budgets, confirm with fresh seeds, test the differences.

  python -m sweeps sweep=NAME out=DIR [key=value …]
  python -m sweeps report DIR… [out=DIR] [width=INCHES] [storage=URL]
                                          rewrite the report, of several sweeps at once; width=
                                          of the files of figures, for a paper: a number, single
                                          (3.25) or double (6.75); storage= of the trials, if it
                                          is not in DIR, which somebody may have sent you
  python -m sweeps scale DIR… at=N        the learning rate of a model of N active parameters,
                                          from sweeps of smaller ones that tuned optimizer.lr

  key=value   set a key           +key=value       add a key that does not exist
  ~key        remove a key        sweep=FILE.yaml  a sweep from your file

The same command resumes a sweep that stopped, and does nothing if the sweep is complete. One
process drives a sweep. engine=slurm and engine=ray run its trials on other machines.

  --list      all sweeps, engines, samplers, pruners and controls
  --cfg       print the resolved configuration and exit
  --help      this text

Exit codes: 0 complete, 1 some runs failed and are missing from the results, 2 the sweep is
invalid, 130 and 143 stopped by a signal (the same command resumes).
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        return _command(arguments)
    except ConfigError as error:
        _print_error(str(error))
        return 2
    except OSError as error:  # of a path that was given, such as one that is too long
        if error.filename is None:
            raise
        _print_error(f"{error.filename}: {error.strerror}")
        return 2
    except KeyboardInterrupt:
        return _stopped(signal.SIGINT)


def _print_error(text: str) -> None:
    """Print an error in one line and indented ones; an argument in it may have line ends."""
    print("error: " + re.sub(r"\n(?!  \S)", r"\\n", text), file=sys.stderr)


def _command(arguments: Sequence[str]) -> int:
    flags = [text for text in arguments if text.startswith("-")]
    rest = [text for text in arguments if text not in flags]
    texts = {"--help": help_text, "-h": help_text, "--list": list_text}
    if unknown := set(flags) - {*texts, "--cfg"}:
        raise ConfigError(f"{min(unknown)} is unknown: expected --help, --list or --cfg")
    for flag in flags:
        if flag in texts:
            print(texts[flag]())
            return 0
    if rest and rest[0] in COMMANDS:
        return COMMANDS[rest[0]](rest[1:])
    from ..config.compose import compose

    config = compose(rest)
    if "--cfg" in flags:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.structured(config)), end="")
        return 0
    from ..config.plan import make_plan

    return _sweep(make_plan(config))


def help_text() -> str:
    """Usage, every key, and the options of engines."""
    from ..engines import ENGINES

    shown = [f"  {name:6} {_first_line(ENGINES[name])}" for name in ENGINES]
    for name in ENGINES:
        options = ENGINES.options(name).items()
        shown += [f"  {name:6} engine.{key}={json.dumps(default)}" for key, default in options]
    keys = (CONF / "sweep.yaml").read_text("utf-8")
    return f"{USAGE}\nEngines:\n" + "\n".join(shown) + f"\n\nAll keys (conf/sweep.yaml):\n{keys}"


def _first_line(part: type) -> str:
    return (part.__doc__ or "").partition("\n")[0]


def list_text() -> str:
    """Every name that a sweep can use."""
    from ..config.arms import CONTROLS
    from ..config.compose import choices, sweeps
    from ..engines import ENGINES

    files = {name: (CONF / "sweep" / f"{name}.yaml").read_text("utf-8") for name in sweeps()}
    lines = [f"  {name:18} {text.splitlines()[0].lstrip('# ')}" for name, text in files.items()]
    names = {"engine": ENGINES, **choices(), "controls": CONTROLS}
    rest = [f"{key}\n  {', '.join(each)}\n" for key, each in names.items()]
    return "\n".join(["sweep", *lines, "", *rest])


def _sweep(plan: "Plan") -> int:
    from rich.console import Console

    from ..driver.driver import StoppedSweepError
    from ..driver.progress import LiveTable, LogLines
    from ..storage.connect import study_url, without_password
    from . import budget
    from .sweep import run_sweep

    console = Console()
    for note in (*plan.notes, *budget.notes(plan)):
        print(note, flush=True)
    if not plan.config.quiet:
        if plan.engine.cpus is None:  # other machines take another time
            for note in budget.time_notes(plan):
                print(note, flush=True)
        url = without_password(study_url(plan.config.storage, plan.folder))
        print(f"Watch the study in a browser: optuna-dashboard {url}")
    is_live = console.is_terminal and not plan.config.quiet
    reporter = (LiveTable if is_live else LogLines)(console, plan.workers)
    try:
        missing = run_sweep(plan, reporter)
    except StoppedSweepError as stop:
        return _stopped(stop.signum)
    _write_results([plan.folder], plan.folder, plan.config.storage)
    for line in missing:
        _print_error(line)
    return 1 if missing else 0


def _stopped(signum: int) -> int:
    name = signal.Signals(signum).name
    print(f"stopped by {name}; run the same command again to continue", file=sys.stderr)
    return 128 + signum


def _report(arguments: Sequence[str]) -> int:
    from ..report.build import inches

    folders, settings = _folders_and_settings(arguments)
    if not folders or settings.keys() - {"out", "storage", "width"}:
        raise ConfigError(
            "report: expected report DIR… [out=DIR] [width=INCHES] [storage=URL], each DIR the "
            "folder of a sweep"
        )
    width = inches(settings["width"]) if "width" in settings else None
    out = user_path(settings["out"]) if "out" in settings else None
    to = out or (folders[0] if len(folders) == 1 else Path.cwd())
    _write_results(folders, to, settings.get("storage"), width)
    return 0


def _scale(arguments: Sequence[str]) -> int:
    from ..results.scaling_law import scale_report

    folders, settings = _folders_and_settings(arguments)
    if not folders or settings.keys() != {"at"}:
        raise ConfigError("scale: expected scale DIR… at=N, N the larger model's active parameters")
    try:
        at = float(settings["at"])
    except ValueError:
        raise OptionError("at", settings["at"], "a number of active parameters above 0") from None
    print(scale_report(folders, at))
    return 0


def _folders_and_settings(arguments: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Split the arguments of a command into folders and ``key=value``."""
    folders = [user_path(text) for text in arguments if "=" not in text]
    return folders, dict(text.split("=", 1) for text in arguments if "=" in text)


def _write_results(
    folders: Sequence[Path], to: Path, storage: str | None, width: float | None = None
) -> None:
    """Write tables and report of sweeps; print the leaderboard and the path of the report."""
    from ..report.build import write_pages
    from ..results.leaderboard import write_tables
    from ..results.sweep_dir import read_sweeps

    sweep = read_sweeps(folders)
    to.mkdir(parents=True, exist_ok=True)
    table, page = write_tables(sweep, to), write_pages(sweep, to, storage, width)
    print(f"{table}\nThe report is {page}")


#: First words that select another command than a sweep.
COMMANDS = {"report": _report, "scale": _scale}
