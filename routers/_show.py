"""How the catalogue and the verdicts look in a terminal."""

import inspect
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ._check import Verdict
from ._registry import Registry


def catalogue(parts: Registry) -> RenderableType:
    """Every part by name: what it does, what it promises, its options with defaults."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name in parts:
        part = parts.get_part(name)
        table.add_row(name, "what", Text(summary(part)))
        table.add_row("", "promises", Text(promises(part)))
        table.add_row("", "options", Text(options(parts.options(name).items())))
        table.add_row()
    return table


def summary(part: object) -> str:
    """The docstring's first line, without its mark-up.

    >>> summary(Registry)
    'Parts of one kind by name.'
    """
    return (inspect.getdoc(part) or "no description").split("\n")[0].replace("``", "")


def promises(part: object) -> str:
    """The declared traits that hold, in words."""
    held = [name for name, holds in vars(getattr(part, "traits", object)).items() if holds is True]
    return ", ".join(held).replace("_", " ") or "none"


def options(defaults: Iterable[tuple[str, object]]) -> str:
    """Options as they are written on a command line.

    >>> options({"k": 2, "gate": "linear"}.items())
    'k=2  gate=linear'
    """
    return "  ".join(f"{name}={value}" for name, value in defaults) or "none"


def verdicts(router: str, found: list[Verdict]) -> RenderableType:
    """A table of checks; why each failed and how to mend it; a line that sums up."""
    table = Table.grid(padding=(0, 2))
    for verdict in found:
        table.add_row(verdict.check.replace("_", " "), *_outcome(verdict))
    passed = sum(verdict.failure is None for verdict in found)
    return Group(table, Text(f"\n{router}: {passed} of {len(found)} checks pass"))


def _outcome(verdict: Verdict) -> tuple[Text, Text]:
    if verdict.failure is None:
        return Text(verdict.note or "pass", style="dim" if verdict.note else "green"), Text()
    why = Text(f"why   {verdict.failure.why}\nmend  {verdict.failure.mend}")
    return Text("FAIL", style="bold red"), why
