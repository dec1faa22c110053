"""Command line of ``python -m sweeps``; modules that a command needs load when it runs."""

import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routers import ConfigError, OptionError
from tasks import CONF, user_path

if TYPE_CHECKING:
    from ..config.plan import Plan
    from ..driver.progress import ProgressReporter

USAGE = """\
Compare routers: search with equal budgets, confirm with fresh seeds, test the differences.

  python -m sweeps sweep=NAME out=DIR [key=value …]
  python -m sweeps suite=NAME out=DIR [benchmarks=[NAME, …]] [key=value …]
                                          the same arms in several benchmarks
  python -m sweeps report DIR… [out=DIR] [width=INCHES] [storage=URL]
                                          rewrite the report, of several sweeps or suites at
                                          once; width= of the files of figures, for a paper: a
                                          number, single (3.25) or double (6.75); storage= of the
                                          trials, if it is not in DIR, which somebody may have
                                          sent you
  python -m sweeps scale DIR… at=N        the learning rate of a model of N active parameters,
                                          from sweeps of smaller ones that tuned optimizer.lr; and
                                          the FLOPs that arms save over a blind control
  python -m sweeps power DIR [power=0.8]  the smallest difference that the seeds of a sweep or of
                                          each benchmark of a suite detect, and the seeds that
                                          pairs without a verdict need

  key=value   set a key           +key=value       add a key that does not exist
  ~key        remove a key        sweep=FILE.yaml  a sweep from your file, suite=FILE.yaml a suite

The same command resumes a sweep that stopped, and does nothing if the sweep is complete. One
process drives a sweep. engine=slurm and engine=ray run its trials on other machines.

  --list      all sweeps, suites, engines, samplers, pruners and controls
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
    is_suite = any(text.partition("=")[0] == "suite" for text in rest)
    return (_suite if is_suite else _sweep)(rest, "--cfg" in flags)


def help_text() -> str:
    """Usage, every key, and the options of engines."""
    from ..engines import ENGINES

    shown = [f"  {name:6} {_first_line(ENGINES[name])}" for name in ENGINES]
    for name in ENGINES:
        options = ENGINES.options(name).items()
        shown += [f"  {name:6} engine.{key}={json.dumps(default)}" for key, default in options]
    text = f"{USAGE}\nEngines:\n" + "\n".join(shown) + "\n"
    for name, what in (("sweep.yaml", "All keys"), ("suite.yaml", "All further keys of a suite")):
        text += f"\n{what} (conf/{name}):\n" + (CONF / name).read_text("utf-8")
    return text


def _first_line(part: type) -> str:
    return (part.__doc__ or "").partition("\n")[0]


def list_text() -> str:
    """Every name that a sweep can use."""
    from ..config.arms import CONTROLS
    from ..config.compose import choices, names_of
    from ..config.suite import MODALITIES, TUNINGS
    from ..engines import ENGINES

    lines = []
    for kind in ("sweep", "suite"):
        files = {n: (CONF / kind / f"{n}.yaml").read_text("utf-8") for n in names_of(kind)}
        shown = (f"  {name:18} {text.splitlines()[0].lstrip('# ')}" for name, text in files.items())
        lines += [kind, *shown, ""]
    names = {"engine": ENGINES, **choices(), "controls": CONTROLS}
    names |= {"tuning": TUNINGS, "modality": MODALITIES}
    rest = [f"{key}\n  {', '.join(each)}\n" for key, each in names.items()]
    return "\n".join([*lines, *rest])


def _sweep(arguments: Sequence[str], only_print: bool) -> int:
    from ..config.compose import compose

    config = compose(arguments)
    if only_print:
        return _print_config(config)
    from ..config.plan import make_plan
    from .outputs import write_sweeps
    from .sweep import run_sweep

    plan = make_plan(config)
    code = _run([plan], plan.folder, plan.notes, lambda reporter: run_sweep(plan, reporter))
    if code <= 1:
        write_sweeps([plan.folder], plan.folder, config.storage)
    return code


def _suite(arguments: Sequence[str], only_print: bool) -> int:
    from ..config.suite import compose_suite

    config = compose_suite(arguments)
    if only_print:
        return _print_config(config)
    from ..config.suite_plan import make_suite_plan
    from ..results.power_table import power_lines
    from .outputs import write_suites
    from .suite import run_suite

    suite = make_suite_plan(config)
    folder = suite.folder
    code = _run(suite.plans, folder, suite.notes, lambda reporter: run_suite(suite, reporter))
    if code <= 1:
        comparison = write_suites([folder], folder, config.shared.storage)
        print(*power_lines(comparison), sep="\n")
    return code


def _print_config(config: Any) -> int:
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(OmegaConf.create(asdict(config))), end="")
    return 0


def _run(
    plans: "Sequence[Plan]",
    folder: Path,
    notes: Sequence[str],
    run: "Callable[[ProgressReporter], list[str]]",
) -> int:
    """Print what plans cost, run them, and print what is missing; returns the exit code."""
    from rich.console import Console

    from ..driver.driver import StoppedSweepError
    from ..driver.progress import LiveTable, LogLines
    from ..storage.connect import study_url, without_password
    from . import budget

    console, first = Console(), plans[0]
    for note in (*notes, *budget.notes(plans, folder)):
        print(note, flush=True)
    if not first.config.quiet:
        if first.engine.cpus is None:  # other machines take another time
            for note in budget.time_notes(plans):
                print(note, flush=True)
        url = without_password(study_url(first.config.storage, folder))
        print(f"Watch the study in a browser: optuna-dashboard {url}")
    is_live = console.is_terminal and not first.config.quiet
    reporter = (LiveTable if is_live else LogLines)(console, first.workers)
    try:
        missing = run(reporter)
    except StoppedSweepError as stop:
        return _stopped(stop.signum)
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
    from ..results.suite_dir import is_suite
    from .outputs import write_suites, write_sweeps

    write = write_suites if any(map(is_suite, folders)) else write_sweeps
    write(folders, to, settings.get("storage"), width)
    return 0


def _scale(arguments: Sequence[str]) -> int:
    from ..results.scaling_law import scale_report
    from ..results.size_speedups import size_speedup_text

    folders, settings = _folders_and_settings(arguments)
    if not folders or settings.keys() != {"at"}:
        raise ConfigError("scale: expected scale DIR… at=N, N the larger model's active parameters")
    try:
        at = float(settings["at"])
    except ValueError:
        raise OptionError("at", settings["at"], "a number of active parameters above 0") from None
    print("\n\n".join(filter(None, (scale_report(folders, at), size_speedup_text(folders)))))
    return 0


def _power(arguments: Sequence[str]) -> int:
    folders, settings = _folders_and_settings(arguments)
    if len(folders) != 1 or settings.keys() - {"power"}:
        raise ConfigError(
            "power: expected power DIR [power=0.8], DIR the folder of a sweep or a suite"
        )
    text = settings.get("power", "0.8")
    try:
        power = float(text)
    except ValueError:
        power = 0.0
    if not 0.5 <= power <= 0.99:
        raise OptionError("power", text, "a number in [0.5, 0.99]")
    from ..results.power_table import power_table

    print(power_table(folders[0], power), end="")
    return 0


def _folders_and_settings(arguments: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Split the arguments of a command into folders and ``key=value``."""
    folders = [user_path(text) for text in arguments if "=" not in text]
    return folders, dict(text.split("=", 1) for text in arguments if "=" in text)


#: First words that select another command than a sweep.
COMMANDS = {"report": _report, "scale": _scale, "power": _power}
