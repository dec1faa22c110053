"""``python -m experts``: the catalogue; ``python -m experts bench``: the cost of a layer."""

import argparse
import inspect
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from routers import ConfigError

from ._bank import EXPERTS, Bank
from ._bench import add_command

_EXPERTS = 4  # enough for a mixed bank to show all its parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m experts", description=__doc__)
    parser.add_argument("--dim", type=_size, default=64, help="width D (default 64)")
    parser.add_argument(
        "--length", type=_size, default=32, help="length of a sequence (default 32)"
    )
    parser.add_argument("--side", type=_size, default=8, help="height and width (default 8)")
    parser.set_defaults(run=_print_catalogue)
    add_command(parser.add_subparsers(title="commands"))
    given = parser.parse_args(arguments)
    return int(given.run(given))


def _print_catalogue(given: argparse.Namespace) -> int:
    """Print every expert with its options and FLOPs per row."""
    sizes = {"D": given.dim, "L": given.length, "H": given.side, "W": given.side}
    table, left_out = catalogue(sizes)
    console = Console()
    console.print(table)
    for name, reason in left_out.items():
        console.print(f"{name}: {reason}", markup=False)
    return 0


def catalogue(sizes: dict[str, int]) -> tuple[Table, dict[str, ConfigError]]:
    """A table with one line per expert, and errors of experts that these sizes do not fit.

    FLOPs are those of one row, averaged over experts, for axes of these sizes.
    """
    shown = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
    table = Table("name", "description", "row", "options", title=f"Experts ({shown})")
    table.add_column("FLOPs per row", justify="right")
    left_out = {}
    for name in EXPERTS:
        try:
            table.add_row(*_row(name, sizes))
        except ConfigError as error:
            left_out[name] = error
    return table, left_out


def _row(name: str, sizes: dict[str, int]) -> tuple[str, ...]:
    bank: Bank = EXPERTS.build(name, sizes["D"], _EXPERTS)
    flops = bank.flops([sizes[axis] for axis in bank.row_axes])
    options = "\n".join(f"{key}={value!r}" for key, value in EXPERTS.options(name).items())
    axes = f"({', '.join(bank.row_axes)})"
    return name, _summary(EXPERTS[name]), axes, options, f"{sum(flops) / len(flops):,.0f}"


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


def _summary(part: object) -> str:
    """A docstring's first line, without its markup."""
    return (inspect.getdoc(part) or "").split("\n")[0].replace("``", "")


if __name__ == "__main__":
    sys.exit(main())
