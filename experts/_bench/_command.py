"""``python -m experts bench``."""

import argparse
import signal
import sys
import textwrap
from typing import Any

from rich.console import Console

from routers import ConfigError

from ._contestant import FailedError
from ._contestants import CONTESTANTS
from ._run import bench
from ._settings import describe, parse
from ._shapes import SHAPES

BAD_CONFIG = 2
FAILED = 1


def add_command(commands: Any) -> None:
    """Add ``bench`` to the sub-commands of a parser."""
    parser = commands.add_parser(
        "bench",
        help="what a routed layer costs, beside others",
        description="Times routed layers side by side in one process, relative to a dense layer\n"
        "of the same active FLOPs: forward and backward, forward alone, and memory.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.set_defaults(run=run)


def _epilog() -> str:
    shapes = "\n".join(f"  {number}: {shape}" for number, shape in SHAPES.items())
    names = textwrap.fill(", ".join(CONTESTANTS), 90, initial_indent="  ", subsequent_indent="  ")
    return (
        f"keys and their defaults:\n{describe()}\n\n"
        f"shapes (tokens, width, hidden width, experts, experts per token):\n{shapes}\n\n"
        f"contestants:\n{names}"
    )


def run(given: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    try:
        bench(parse(given.settings), Console(highlight=False))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:
        print("stopped; shapes that were done, if any, are in the CSV file", file=sys.stderr)
        return 128 + signal.SIGINT
    except (FailedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0
