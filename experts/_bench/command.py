"""The command line of ``python -m experts bench``: help, errors and exit codes."""

import argparse
import signal
import sys
import textwrap
from typing import Any

from rich.console import Console

from routers import ConfigError

from .candidates import SHAPES
from .run import CANDIDATES, BenchmarkError, run_bench
from .settings import describe, parse

BAD_CONFIG = 2
FAILED = 1


def add_command(commands: Any) -> None:
    """Add ``bench`` to the subcommands of a parser."""
    parser = commands.add_parser(
        "bench",
        help="benchmark a routed layer against other layers",
        description="Time routed layers side by side in one process, relative to a dense layer\n"
        "with the same active FLOPs: forward and backward, forward alone, and memory.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        run_bench(parse(arguments.settings), Console(highlight=False))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:
        print("interrupted; the CSV file contains all completed shapes", file=sys.stderr)
        return 128 + signal.SIGINT
    except (BenchmarkError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


def _epilog() -> str:
    shapes = "\n".join(f"  {number}: {shape}" for number, shape in SHAPES.items())
    names = textwrap.fill(", ".join(CANDIDATES), 90, initial_indent="  ", subsequent_indent="  ")
    return (
        f"keys and their defaults:\n{describe()}\n\n"
        f"shapes (tokens, width, hidden width, experts, experts per token):\n{shapes}\n\n"
        f"candidates:\n{names}"
    )
