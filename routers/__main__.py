"""``python -m routers``: the catalogue; ``python -m routers check NAME``: conformance checks.

``check gate NAME``, ``check loss NAME`` and ``check metric NAME`` check such a part by itself.
``--markdown`` prints the table of docs/routers.md; ``--plugins their.module`` adds the parts that
the module registers.
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from . import ROUTERS
from ._catalogue.render import catalogue, markdown
from .conformance import results_table, run_checks
from .conformance.parts import KINDS
from .plugins import ConfigError, load_plugins, parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 1 if a check fails and 2 for invalid arguments."""
    parser = argparse.ArgumentParser(prog="python -m routers", description=__doc__)
    commands = parser.add_subparsers(title="commands")
    check = commands.add_parser(
        "check",
        help="run the conformance checks on a router or one of its parts",
    )
    check.usage = "%(prog)s [--plugins MODULE] [gate|loss|metric] NAME [key=value …]"
    check.add_argument("name", help="a registered name, or package.module:Class")
    check.add_argument("options", nargs="*", metavar="key=value", help="options of its constructor")
    check.set_defaults(run=_check)
    parser.add_argument("--markdown", action="store_true", help="print the catalogue as Markdown")
    for command, dest in ((parser, "plugins"), (check, "check_plugins")):
        command.add_argument(
            "--plugins",
            metavar="MODULE",
            action="append",
            default=[],
            dest=dest,
            help="import more routers",
        )
    parser.set_defaults(run=_list, check_plugins=[])
    chosen = parser.parse_args(arguments)
    try:
        load_plugins([*chosen.plugins, *chosen.check_plugins])
        return int(chosen.run(chosen, Console(highlight=False)))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _list(chosen: argparse.Namespace, console: Console) -> int:
    if chosen.markdown:
        print(markdown(ROUTERS))
    else:
        console.print(catalogue(ROUTERS))
    return 0


def _check(chosen: argparse.Namespace, console: Console) -> int:
    words = [chosen.name, *chosen.options]
    if chosen.name in KINDS and chosen.options and "=" not in chosen.options[0]:
        name, options = chosen.options[0], parse_options(chosen.options[1:])
        found = KINDS[chosen.name](name, **options)
    else:
        options = parse_options(chosen.options)
        ROUTERS.check_options(chosen.name, options)  # invalid arguments, not a failed check
        found = run_checks(chosen.name, **options)
    console.print(results_table(" ".join(words), found))
    return int(any(result.failure for result in found))


if __name__ == "__main__":
    sys.exit(main())
