"""``python -m routers``: the catalogue; ``python -m routers check NAME``: conformance checks.

``--markdown`` prints the table of docs/routers.md; ``--plugins their.module`` adds the parts that
the module registers.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from . import ROUTERS
from ._catalogue.render import catalogue, markdown, verdicts
from .conformance.suite import run_checks
from .plugins import ConfigError, load_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 1 if a check fails and 2 for invalid arguments."""
    parser = argparse.ArgumentParser(prog="python -m routers", description=__doc__)
    commands = parser.add_subparsers(title="commands")
    check = commands.add_parser("check", help="run the conformance checks on a router")
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
    options = _options(chosen.options)
    ROUTERS.check_options(chosen.name, options)  # invalid arguments, not a failed check
    found = run_checks(chosen.name, **options)
    console.print(verdicts(" ".join([chosen.name, *chosen.options]), found))
    return int(any(verdict.failure for verdict in found))


def _options(written: Sequence[str]) -> dict[str, Any]:
    """Parse ``["k=4", "gate=mlp"]`` into keyword arguments."""
    for text in written:
        if not text.partition("=")[0].isidentifier() or "=" not in text:
            raise ConfigError(
                f"{text} is invalid: expected key=value, an option of the router's constructor"
            )
    found: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(written)))
    return {str(key): value for key, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
