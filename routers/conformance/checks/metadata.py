"""Checks of a router's documentation and declarations."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ..._router import Traits
from ...losses import LOSSES, loss_of
from ...plugins.signature import defaults
from ..harness import RouterUnderTest, ToyLayer, accepted
from ..results import require

SOURCE = re.compile(r"\b\d{4}\.\d{4,5}\b|\b(19|20)\d\d\b|https?://|doi", re.IGNORECASE)


def check_docstring(subject: RouterUnderTest) -> None:
    """The docstring has a one-line summary, a source and a doctest."""
    kind = type(subject.build())
    doc = inspect.getdoc(kind) if kind.__doc__ else None
    require(doc, "the class has no docstring", "describe the strategy, with source and doctest")
    assert doc is not None
    summary = doc.split("\n\n")[0]
    why = "the docstring does not start with a summary of one line"
    hint = "the catalogue shows the first line: put an empty line after it"
    require("\n" not in summary, why, hint)
    why = "the docstring names no source"
    hint = "add a line such as 'Source: Shazeer et al. 2017, 1701.06538, equation 3.'"
    require(SOURCE.search(doc), why, hint)
    require(">>>" in doc, "the docstring shows no example", "add a doctest that shows a number")


def check_traits_declared(subject: RouterUnderTest) -> None:
    """``traits`` is a ``Traits`` on the class and on the instance."""
    router = subject.build()
    for owner in (router, type(router)):
        why, hint = f"traits is a {type(owner.traits).__name__}", "declare traits = Traits(...)"
        require(isinstance(owner.traits, Traits), why, hint)


def check_search_space(subject: RouterUnderTest) -> None:
    """``search_space`` names options of the constructor, with valid values."""
    accepted(subject.factory)  # a size is built or refused with ``ConfigError``
    kind = type(subject.build())
    options = defaults(kind, skip=2)
    for name, choices in kind.search_space.items():
        why = f"search_space names {name!r}, which the constructor does not take"
        hint = f"the constructor's options are: {', '.join(options) or 'none'}"
        require(name in options, why, hint)
        for value in ends(choices):
            found, refusals = accepted(partial(kind, **{name: value}))
            last = refusals[-1] if refusals else ""
            why = f"search_space has {name}={value}, but no tested size accepts it: {last}"
            hint = "list values that work with the defaults of the other options"
            require(found, why, hint)


def ends(choices: Any) -> list[Any]:
    """The values of a search space's entry to test: all of a list, both ends of a range."""
    if not isinstance(choices, Mapping):
        return list(choices)
    why = f"a range in search_space is {dict(choices)}"
    hint = "a range has low, high and optionally log"
    require(choices.keys() >= {"low", "high"} and choices["low"] < choices["high"], why, hint)
    return [choices["low"], choices["high"]]


def check_default_losses(subject: RouterUnderTest) -> None:
    """``default_losses`` names losses that can be computed from this router's routings."""
    items = subject.items(6, 2)
    routing = subject.in_training(items)
    outputs = torch.ones(routing.num_assignments, 2, dtype=torch.float64)
    routing = replace(routing, outputs=outputs if routing.supports_dropping else None)
    layer = ToyLayer(subject.router(), items)
    for name, weight in type(subject.build()).default_losses.items():
        why = f"default_losses names {name!r}, which is no loss"
        hint = f"losses are: {', '.join(LOSSES.available())}"
        require(name in LOSSES.available(), why, hint)
        require(
            weight > 0, f"default_losses gives {name} the weight {weight}", "give a weight above 0"
        )
        value = loss_of(LOSSES[name], routing, layer)
        why = f"losses.{name} is {value} on this router's routings"
        hint = "name a loss whose fields the router provides"
        require(value.dim() == 0 and value.isfinite(), why, hint)
