"""``python -m experts``: the catalogue; ``bench``: the cost of a layer; ``check NAME``: checks.

``plan``: the price of a layer on a cluster.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from routers import ConfigError
from routers.plugins import load_plugins, parse_options

from ._bank import EXPERTS, Bank
from ._bench import add_command
from .plan import add_command as add_plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m experts", description=__doc__)
    parser.add_argument("--dim", type=_size, default=64, help="width D (default 64)")
    parser.add_argument("--length", type=_size, default=32, help="sequence length (default 32)")
    parser.add_argument("--side", type=_size, default=8, help="height and width (default 8)")
    parser.set_defaults(run=_print_catalogue)
    commands = parser.add_subparsers(title="commands")
    add_command(commands)
    add_plan(commands)
    check = commands.add_parser("check", help="run the conformance checks on an architecture")
    check.add_argument("name", help="a registered name, or package.module:Class")
    check.add_argument("options", nargs="*", metavar="key=value", help="options of its constructor")
    check.add_argument("--plugins", metavar="MODULE", action="append", help="import more experts")
    check.set_defaults(run=_check, plugins=[])
    given = parser.parse_args(arguments)
    return int(given.run(given))


def _check(given: argparse.Namespace) -> int:
    """Run the checks; the exit code is 1 if one fails and 2 for invalid arguments."""
    from routers.conformance import results_table

    from .conformance import run_bank_checks

    try:
        load_plugins(given.plugins)
        found = run_bank_checks(given.name, **parse_options(given.options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    console = Console(highlight=False)
    console.print(results_table(" ".join([given.name, *given.options]), found))
    return int(any(result.failure for result in found))


def _print_catalogue(given: argparse.Namespace) -> int:
    """Print every expert with its options and its FLOPs per row, averaged over experts.

    Experts that the sizes do not fit follow below the table, with the error.
    """
    sizes = {"D": given.dim, "L": given.length, "H": given.side, "W": given.side}
    shown = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
    table = Table("name", "description", "row", "options", title=f"Experts ({shown})")
    table.add_column("FLOPs per row", justify="right")
    left_out = []
    for name in EXPERTS:
        summary = (inspect.getdoc(EXPERTS[name]) or "").split("\n")[0].replace("``", "")
        options = "\n".join(f"{key}={value!r}" for key, value in EXPERTS.options(name).items())
        try:
            bank: Bank = EXPERTS.build(name, given.dim, 4)  # enough for all parts of a mixed bank
            flops = bank.flops([sizes[axis] for axis in bank.row_axes])
        except ConfigError as error:
            left_out.append(f"{name}: {error}")
            continue
        axes = f"({', '.join(bank.row_axes)})"
        table.add_row(name, summary, axes, options, f"{sum(flops) / len(flops):,.0f}")
    console = Console()
    console.print(table)
    for reason in left_out:
        console.print(reason, markup=False)
    return 0


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
