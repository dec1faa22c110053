"""Checks of a router's documentation and declarations."""

import inspect
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..._router import Traits
from ...losses import LOSSES
from ...plugins.signature import defaults
from ..harness import RouterUnderTest, accepted, require

SOURCE = re.compile(r"\b\d{4}\.\d{4,5}\b|\b(19|20)\d\d\b|https?://|doi", re.IGNORECASE)


def check_docstring(subject: RouterUnderTest) -> None:
    """The docstring has a one-line summary, a source and a doctest."""
    kind = type(subject.build())
    doc = inspect.getdoc(kind) if kind.__doc__ else None
    require(doc, "the class has no docstring", "describe the strategy, with source and doctest")
    assert doc is not None
    summary = doc.split("\n\n")[0]
    require(
        "\n" not in summary,
        "the docstring does not start with a summary of one line",
        "the catalogue shows the first line: put an empty line after it",
    )
    require(
        SOURCE.search(doc),
        "the docstring names no source",
        "add a line such as 'Source: Shazeer et al. 2017, 1701.06538, equation 3.'",
    )
    require(">>>" in doc, "the docstring shows no example", "add a doctest that shows a number")


def check_traits_declared(subject: RouterUnderTest) -> None:
    """``traits`` is a ``Traits`` on the class and on the instance."""
    router = subject.build()
    for owner in (router, type(router)):
        require(
            isinstance(owner.traits, Traits),
            f"traits is a {type(owner.traits).__name__}",
            "declare traits = Traits(...)",
        )


def check_search_space(subject: RouterUnderTest) -> None:
    """``search_space`` names options of the constructor, with valid values."""
    kind = type(subject.build())
    options = defaults(kind, skip=2)
    for name, choices in kind.search_space.items():
        require(
            name in options,
            f"search_space names {name!r}, which the constructor does not take",
            f"the constructor's options are: {', '.join(options) or 'none'}",
        )
        for value in ends(choices):
            found, refusals = accepted(partial(kind, **{name: value}))
            last = refusals[-1] if refusals else ""
            require(
                found,
                f"search_space has {name}={value}, but no tested size accepts it: {last}",
                "list values that work with the defaults of the other options",
            )


def ends(choices: Any) -> list[Any]:
    """The values of a search space's entry to test: all of a list, both ends of a range."""
    if not isinstance(choices, Mapping):
        return list(choices)
    require(
        choices.keys() >= {"low", "high"} and choices["low"] < choices["high"],
        f"a range in search_space is {dict(choices)}",
        "a range has low, high and optionally log",
    )
    return [choices["low"], choices["high"]]


def check_default_losses(subject: RouterUnderTest) -> None:
    """``default_losses`` names losses that can be computed from this router's routings."""
    routing = subject.in_training(subject.items(6, 2))
    for name, weight in type(subject.build()).default_losses.items():
        require(
            name in LOSSES.available(),
            f"default_losses names {name!r}, which is no loss",
            f"losses are: {', '.join(LOSSES.available())}",
        )
        require(
            weight > 0, f"default_losses gives {name} the weight {weight}", "give a weight above 0"
        )
        value = LOSSES[name](routing)
        require(
            value.dim() == 0 and value.isfinite(),
            f"losses.{name} is {value} on this router's routings",
            "name a loss whose fields the router provides",
        )
