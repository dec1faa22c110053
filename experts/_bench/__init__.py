"""``python -m experts bench``: benchmark routed layers against other layers in one process."""

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

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add ``bench`` to the subcommands of a parser."""
    shapes = "\n".join(f"  {number}: {shape}" for number, shape in SHAPES.items())
    names = textwrap.fill(", ".join(CANDIDATES), 90, initial_indent="  ", subsequent_indent="  ")
    parser = commands.add_parser(
        "bench",
        help="benchmark a routed layer against other layers",
        description="Time routed layers side by side in one process, relative to a dense layer\n"
        "with the same active FLOPs: forward and backward, forward alone, and memory.",
        epilog=f"keys and their defaults:\n{describe()}\n\n"
        f"shapes (tokens, width, hidden width, experts, experts per token):\n{shapes}\n\n"
        f"candidates:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code is 2 for invalid settings and 1 for a failure."""
    try:
        run_bench(parse(arguments.settings), Console(highlight=False))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the CSV file contains all completed shapes", file=sys.stderr)
        return 128 + signal.SIGINT
    except (BenchmarkError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
