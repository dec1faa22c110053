"""Checks of a metric of routed layers by itself."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..metrics import RoutingMetric
from ..routing import Routing
from .results import require, require_summary
from .samples import EXPERTS, GROUPS, padding, random_logits, routing_of

#: Relative to the value, which sums in float64 give.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class MetricUnderTest:
    """A metric of a layer of ``EXPERTS`` experts, with its options."""

    kind: type[RoutingMetric]
    options: dict[str, Any]

    def of(self, *routings: Routing) -> Any:
        """The value over some routings."""
        return self.seen(*routings).compute()

    def seen(self, *routings: Routing) -> RoutingMetric:
        """A metric with some routings added."""
        metric = self.kind(EXPERTS, **self.options)
        for routing in routings:
            metric.update(routing)
        return metric


def _sample(mask: Tensor | None = None) -> Routing:
    return routing_of(random_logits(), mask, GROUPS)


def _skewed() -> Routing:
    """Other items, most of which choose the first expert."""
    pull = torch.arange(EXPERTS, 0.0, -1).double()
    return routing_of(random_logits(seed=1) + pull, groups=GROUPS)


def check_docstring(subject: MetricUnderTest) -> None:
    """The docstring has a one-line summary."""
    require_summary(subject.kind)


def check_value(subject: MetricUnderTest) -> None:
    """The value is a finite number, an integer for each expert, or None."""
    none = torch.zeros_like(padding())
    cases = {"on random routings": _sample(), "if all items are padding": _sample(mask=none)}
    for when, routing in cases.items():
        value = subject.of(routing)
        numbers = value if isinstance(value, list) else [value]
        plain = all(isinstance(number, int | float) for number in numbers) or value is None
        hint = "return float(value), a list of E integers, or None if there is nothing to measure"
        require(plain, f"the value is a {type(value).__name__}, {value!r}, {when}", hint)
        each = not isinstance(value, list) or len(value) == EXPERTS
        require(each, f"the value has {len(numbers)} numbers {when}, not E={EXPERTS}", hint)
        finite = value is None or all(math.isfinite(number) for number in numbers)
        require(finite, f"the value is {value} {when}", "return 0 or None if a sum is empty")


def check_padding(subject: MetricUnderTest) -> None:
    """Items that are padding do not count, whatever their scores are."""
    mask, logits = padding(), random_logits()
    noise = torch.where(mask.unsqueeze(1), logits, 9 * random_logits(seed=1)).detach()
    values = [subject.of(routing_of(scores, mask, GROUPS)) for scores in (logits, noise)]
    hint = "read load and importance, or routing.unpadded(values)"
    _require_equal(values, "the value changes with the scores of padding", hint)


def check_experts_alike(subject: MetricUnderTest) -> None:
    """Another order of the experts gives the same number, or reverses those of the experts."""
    logits = random_logits()
    value, other = (subject.of(routing_of(h, groups=GROUPS)) for h in (logits, logits.flip(1)))
    other = other[::-1] if isinstance(other, list) else other
    hint = "treat all experts alike, and list them in their order"
    _require_equal([value, other], "the value depends on the order of the experts", hint)


def check_batches(subject: MetricUnderTest) -> None:
    """The order of batches does not matter, and no batch is forgotten."""
    one, other = _sample(), _skewed()
    hint = "add to sums in update, and divide in compute"
    values = [subject.of(one, other), subject.of(other, one)]
    _require_equal(values, "the value depends on the order of batches", hint)
    alone = [subject.of(each) for each in (one, other)]
    if isinstance(values[0], float | int) and all(isinstance(v, float | int) for v in alone):
        fresh = subject.seen(one)
        fresh.reset()
        fresh.update(other)
        hint = "keep sums in states: add_counts, add_sum or add_state; reset sets these back"
        _require_equal([fresh.compute(), alone[1]], "reset leaves something behind", hint)


def check_ranks(subject: MetricUnderTest) -> None:
    """Sums of two processes give the value of one that saw all batches."""
    one, other = _sample(), _skewed()
    hint = "keep sums in states with dist_reduce_fx='sum': add_counts and add_sum do"
    total = subject.seen(one)
    require(total.metric_state, "the metric has no state", hint)
    total.merge_state(subject.seen(other))
    values = [total.compute(), subject.of(one, other)]
    _require_equal(values, "two processes together find another value than one", hint)


def check_no_gradient(subject: MetricUnderTest) -> None:
    """States hold no graph, which would keep the memory of every batch."""
    states = subject.seen(_sample()).metric_state
    held = [name for name, value in states.items() if getattr(value, "requires_grad", False)]
    require(not held, f"{', '.join(held)} ask for a gradient", "write @torch.no_grad() at update")


def _require_equal(values: list[Any], why: str, hint: str) -> None:
    one, other = (value if isinstance(value, list) else [value] for value in values)
    near = len(one) == len(other) and all(
        a == b or (None not in (a, b) and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE))
        for a, b in zip(one, other, strict=True)
    )
    require(near, f"{why}: {values[0]} and {values[1]}", hint)
