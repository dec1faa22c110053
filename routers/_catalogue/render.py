"""Formatting of the catalogue and of check results, for a terminal and as Markdown."""

import inspect
import re
from collections.abc import Callable, Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .._router import Router
from ..plugins.registry import Registry
from .cost import DIM, EXPERTS, LENGTH, K, cost_of

#: A full stop that ends a sentence, and not ``et al.``
_STOP = re.compile(r"(?<!\bal)(?<!\bsec)\.(?=\s|$)")
_DATED = re.compile(r"\b\d{4}\.\d{4,5}\b|\b(19|20)\d\d\b")


def catalogue(parts: Registry[Router]) -> RenderableType:
    """Table of every router: what it does, source, traits, cost and options."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name in parts:
        part = parts.get_part(name)
        table.add_row(name, "what", Text(summary(part)))
        table.add_row("", "source", Text(source(part)))
        table.add_row("", "promises", Text(promises(part)))
        table.add_row("", "cost", Text("{} FLOPs per item, {} parameters".format(*counts(part))))
        table.add_row("", "options", Text(options(parts.options(name).items())))
        table.add_row()
    return Group(table, Text(f"{len(parts)} routers. {LEGEND}", style="dim"))


LEGEND = (
    f"Costs are counted with width D={DIM}, E={EXPERTS} experts, K={K} experts per item and groups "
    f"of {LENGTH} items, other options at their defaults. A multiply-add is 2 FLOPs; element-wise "
    "work is not counted."
)


def markdown(parts: Registry[Router]) -> str:
    """The catalogue as a Markdown table, one router per row."""
    lines = [
        "| router | what it does | source | learned | causal | FLOPs per item | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in parts:
        part = parts.get_part(name)
        traits = vars(getattr(part, "traits", object()))
        held = ["yes" if traits.get(trait) else "no" for trait in ("learned", "causal")]
        cells = [f"`{name}`", summary(part), links(part), *held, *counts(part)]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join([*lines, "", LEGEND])


def counts(part: Callable[..., Router]) -> tuple[str, str]:
    """FLOPs per item and parameters, formatted.

    >>> import routers
    >>> counts(routers.ROUTERS["topk"])
    ('32,768', '16,384')
    """
    cost = cost_of(part)
    if cost is None:
        return "not counted", "not counted"
    return f"{cost.flops:,.0f}", f"{cost.parameters:,}"


def summary(part: object) -> str:
    """First line of the docstring, without markup.

    >>> summary(Registry)
    'Parts of one kind, classes or functions, by name; build constructs one.'
    """
    return (inspect.getdoc(part) or "no description").split("\n")[0].replace("``", "")


def source(part: object) -> str:
    """The source of a strategy: the sentence after ``Source:`` in its docstring.

    >>> import routers
    >>> source(routers.ROUTERS["expert_choice"])
    'Zhou et al. 2022, 2202.09368'
    """
    text = " ".join((inspect.getdoc(part) or "").split("Args:")[0].replace("``", "").split())
    before, said, after = text.partition("Source: ")
    if said:
        return _STOP.split(after, maxsplit=1)[0]
    dated = _DATED.search(before)
    return dated.group() if dated else "none"


def links(part: object) -> str:
    """Links to the arXiv papers named in the source; the source text if it names none.

    >>> import routers
    >>> links(routers.ROUTERS["expert_choice"])
    '[2202.09368](https://arxiv.org/abs/2202.09368)'
    """
    named = source(part)
    papers = dict.fromkeys(re.findall(r"\b\d{4}\.\d{5}\b", named))
    return ", ".join(f"[{n}](https://arxiv.org/abs/{n})" for n in papers) or named


def promises(part: object) -> str:
    """The declared traits that hold, separated by commas."""
    held = [name for name, holds in vars(getattr(part, "traits", object)).items() if holds is True]
    return ", ".join(held).replace("_", " ") or "none"


def options(defaults: Iterable[tuple[str, object]]) -> str:
    """Options as written on a command line.

    >>> options({"k": 2, "gate": "linear"}.items())
    'k=2  gate=linear'
    """
    return "  ".join(f"{name}={value}" for name, value in defaults) or "none"
