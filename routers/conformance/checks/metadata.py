"""Checks of what a router says about itself."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from ..._router import Router, Traits
from ...losses import LOSSES
from ...plugins.errors import ConfigError
from ...plugins.signature import defaults
from ..harness import SIZES, RouterUnderTest, require

SOURCE = re.compile(r"\b\d{4}\.\d{4,5}\b|\b(19|20)\d\d\b|https?://|doi", re.IGNORECASE)


def check_docstring(subject: RouterUnderTest) -> None:
    """The class says in one line what it does, names its source, and shows a result."""
    kind = type(subject.build())
    doc = inspect.getdoc(kind) if kind.__doc__ else None
    require(doc, "the class has no docstring", "say what it does, with source and doctest")
    assert doc is not None
    summary = doc.split("\n\n")[0]
    require(
        "\n" not in summary,
        "the docstring does not start with one line by itself",
        "the catalogue shows the first line: follow it by an empty one",
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


def check_space(subject: RouterUnderTest) -> None:
    """``space`` names options of the constructor, with values that can be built."""
    kind = type(subject.build())
    options = defaults(kind, skip=2)
    for name, choices in kind.search_space.items():
        require(
            name in options,
            f"space names {name!r}, which the constructor does not take",
            f"its options are: {', '.join(options) or 'none'}",
        )
        for value in ends(choices):
            refusal = _refusal(kind, {name: value})
            require(
                refusal is None,
                f"space offers {name}={value}, but no size takes it: {refusal}",
                "offer values that work beside the other options' defaults",
            )


def ends(choices: Any) -> list[Any]:
    """What to try of a space's entry: all of a list, both ends of a range."""
    if not isinstance(choices, Mapping):
        return list(choices)
    require(
        choices.keys() >= {"low", "high"} and choices["low"] < choices["high"],
        f"a range in space is {dict(choices)}",
        "a range has low, high and optionally log",
    )
    return [choices["low"], choices["high"]]


def _refusal(kind: type[Router], options: Mapping[str, Any]) -> ConfigError | None:
    last: ConfigError | None = None
    for dim, num_experts in SIZES:
        try:
            kind(dim, num_experts, **options)
        except ConfigError as error:
            last = error
        else:
            return None
    return last


def check_balance_names(subject: RouterUnderTest) -> None:
    """``balance`` names losses that this router's routings have what it takes for."""
    routing = subject.in_training(subject.items(6, 2))
    for name, weight in type(subject.build()).default_losses.items():
        require(
            name in LOSSES.available(),
            f"balance names {name!r}, which is no loss",
            f"losses are: {', '.join(LOSSES.available())}",
        )
        require(weight > 0, f"balance weighs {name} by {weight}", "give a weight above 0")
        value = LOSSES[name](routing)
        require(
            value.dim() == 0 and value.isfinite(),
            f"losses.{name} is {value} on this router's routings",
            "name a loss that reads what the router gives",
        )
