"""``python -m routers``: the catalogue; ``python -m routers check NAME``: a verdict.

``--markdown`` prints the catalogue as a table for a README; ``--plugins their.module`` adds what
that module registers.
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from . import routers
from ._check import judge
from ._errors import ConfigError
from ._registry import load_plugins
from ._show import catalogue, markdown, verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 where all is well, 1 where a check fails, 2 for a wrong command."""
    parser = argparse.ArgumentParser(prog="python -m routers", description=__doc__)
    commands = parser.add_subparsers(title="commands")
    check = commands.add_parser("check", help="does a router keep what routers promise?")
    check.add_argument("name", help="a registered name, or package.module:Class")
    check.set_defaults(run=lambda chosen, console: _check(chosen.name, console))
    parser.add_argument("--markdown", action="store_true", help="the catalogue as Markdown")
    parser.add_argument("--plugins", metavar="MODULE", action="append", default=[])
    parser.set_defaults(run=_list)
    chosen = parser.parse_args(arguments)
    try:
        load_plugins(chosen.plugins)
        return int(chosen.run(chosen, Console(highlight=False)))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _list(chosen: argparse.Namespace, console: Console) -> int:
    if chosen.markdown:
        print(markdown(routers))
    else:
        console.print(catalogue(routers))
    return 0


def _check(name: str, console: Console) -> int:
    routers.get_part(name)  # an unknown name is a mistake in the command, not a verdict
    found = judge(name)
    console.print(verdicts(name, found))
    return int(any(verdict.failure for verdict in found))


if __name__ == "__main__":
    sys.exit(main())
