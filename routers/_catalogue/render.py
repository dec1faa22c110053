"""How the catalogue and the verdicts look, in a terminal and in Markdown."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..conformance.suite import CheckResult
from ..plugins.registry import Registry
from .cost import cost_of

#: A full stop that ends a sentence, and not ``et al.``
_STOP = re.compile(r"(?<!\bal)(?<!\bsec)\.(?=\s|$)")
_DATED = re.compile(r"\b\d{4}\.\d{4,5}\b|\b(19|20)\d\d\b")


def catalogue(parts: Registry[Any]) -> RenderableType:
    """Every router by name: what it does, whose idea it is, promises, cost, options."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name in parts:
        part = parts.get_part(name)
        cost = cost_of(part)
        table.add_row(name, "what", Text(summary(part)))
        table.add_row("", "source", Text(source(part)))
        table.add_row("", "promises", Text(promises(part)))
        table.add_row(
            "", "cost", Text(f"{cost.flops} FLOPs per item, {cost.parameters} parameters")
        )
        table.add_row("", "options", Text(options(parts.options(name).items())))
        table.add_row()
    return Group(table, Text(f"{len(parts)} routers. {LEGEND}", style="dim"))


#: What the formulas mean.
LEGEND = (
    "Costs are counted at several sizes and fitted exactly, with default options: D is the width, "
    "E the experts, K the experts per item, L the items of a group, B the least divisor of E that "
    "is not below √E; a multiply-add is 2 FLOPs, element-wise work is not counted."
)


def markdown(parts: Registry[Any]) -> str:
    """The catalogue as a table for a README, a router in a row."""
    lines = [
        "| router | what it does | source | learned | causal | FLOPs per item | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in parts:
        part = parts.get_part(name)
        cost, traits = cost_of(part), vars(getattr(part, "traits", object()))
        held = ["yes" if traits.get(trait) else "no" for trait in ("learned", "causal")]
        cells = [f"`{name}`", summary(part), links(part), *held, cost.flops, cost.parameters]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join([*lines, "", f"{len(parts)} routers. {LEGEND}"])


def summary(part: object) -> str:
    """The docstring's first line, without its mark-up.

    >>> summary(Registry)
    'Parts of one kind by name.'
    """
    return (inspect.getdoc(part) or "no description").split("\n")[0].replace("``", "")


def source(part: object) -> str:
    """Whose idea it is: what the docstring says after ``Source:``, to the end of the sentence.

    >>> import routers
    >>> source(routers.routers["expert_choice"])
    'Zhou et al. 2022, 2202.09368'
    """
    text = " ".join((inspect.getdoc(part) or "").split("Args:")[0].replace("``", "").split())
    before, said, after = text.partition("Source: ")
    if said:
        return _STOP.split(after, maxsplit=1)[0]
    dated = _DATED.search(before)
    return dated.group() if dated else "none"


def links(part: object) -> str:
    """The papers on arXiv that the source names, as links; the source itself where there are none.

    >>> import routers
    >>> links(routers.routers["expert_choice"])
    '[2202.09368](https://arxiv.org/abs/2202.09368)'
    """
    named = source(part)
    papers = dict.fromkeys(re.findall(r"\b\d{4}\.\d{5}\b", named))
    return ", ".join(f"[{n}](https://arxiv.org/abs/{n})" for n in papers) or named


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


def verdicts(router: str, found: list[CheckResult]) -> RenderableType:
    """A table of checks; why each failed and how to mend it; a line that sums up."""
    table = Table.grid(padding=(0, 2))
    for verdict in found:
        table.add_row(verdict.check.replace("_", " "), *_outcome(verdict))
    passed = sum(verdict.failure is None for verdict in found)
    return Group(table, Text(f"\n{router}: {passed} of {len(found)} checks pass"))


def _outcome(verdict: CheckResult) -> tuple[Text, Text]:
    if verdict.failure is None:
        return Text(verdict.note or "pass", style="dim" if verdict.note else "green"), Text()
    why = Text(f"why   {verdict.failure.why}\nmend  {verdict.failure.mend}")
    return Text("FAIL", style="bold red"), why
