"""Statistics per expert that losses compare: of a batch, of each group, of an optimizer step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..plugins.errors import ConfigError, unknown
from ..routing import Merge, Routing, Slots

#: What a loss compares experts over.
Level = Literal["batch", "sequence", "step"]

#: The levels of a loss that cannot be computed per group.
BatchLevel = Literal["batch", "step"]


@dataclass(frozen=True, eq=False)
class ExpertStatistics:
    """Statistics of the real items, ``(G, E)``: a row per group, or one row.

    Attributes:
        requested_load: share of all assignments, every choice counted and before drops: ``f``.
        probs: mean of the gate's distribution: ``P``.
        importance: gate mass per item, before drops.
        batch_probs: ``probs`` of the items of this batch alone; differs at level ``step``.
        expected_load: expected assignments per item, where the router has an estimate.
    """

    requested_load: Tensor
    probs: Tensor
    importance: Tensor
    batch_probs: Tensor
    expected_load: Tensor | None = None


def expert_statistics(routing: Routing, level: Level = "batch") -> ExpertStatistics:
    """The statistics of a routing at a level.

    Level ``step`` reads ``Routing.step_statistics``, the sum of ``step_sums`` over micro-batches
    and ranks so far; a routing without it is taken for the whole step. In your own training loop:
    ``total += step_sums(routing)``, then ``replace(routing, step_statistics=total)``.

    >>> from routers import Items
    >>> items = Items(torch.zeros(2, 1), groups=2)
    >>> routing = Routing.by_item(items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2)
    >>> expert_statistics(routing).requested_load.tolist()
    [[0.5, 0.5]]
    >>> expert_statistics(routing, "sequence").requested_load.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if level not in _STATISTICS:
        raise unknown("level", level, _STATISTICS)
    return _STATISTICS[level](routing)


def _of_batch(routing: Routing) -> ExpertStatistics:
    probs = routing.prob_sums
    items = routing.num_real.clamp_min(1)
    expected = routing.expected_load
    mean = (probs / items).unsqueeze(0)
    return ExpertStatistics(
        _fractions(routing.requested_load.to(probs.dtype)).unsqueeze(0),
        mean,
        (routing.importance / items).unsqueeze(0),
        mean,
        None if expected is None else (expected / items).unsqueeze(0),
    )


def _of_groups(routing: Routing) -> ExpertStatistics:
    """Statistics of each group that has real items."""
    asked = routing if routing.before is None else routing.before
    if asked.requested is not None:
        raise ConfigError(
            "losses: the level sequence needs to know which assignments were dropped, and this "
            "routing holds only their number; use the level batch, or drop nothing"
        )
    groups, e = routing.groups, routing.num_experts
    length = routing.num_items // groups
    real = torch.full((groups,), length, device=asked.item.device)
    real = real if routing.mask is None else routing.mask.view(groups, length).sum(1)
    used = real > 0
    items = real[used].unsqueeze(1)
    probs = routing.prob_sums_by_group[used] / items
    if isinstance(asked.execution, Slots):  # slots, as many from each group
        even = _fractions(asked.load.to(probs.dtype)).expand_as(probs)
        return ExpertStatistics(even, probs, probs, probs)
    cell = asked.item // max(length, 1) * e + asked.expert
    mass = asked.mass.new_zeros(groups * e).index_add(0, cell, asked.mass)
    mass = mass.view(groups, e)[used] / items
    if isinstance(asked.execution, Merge):  # a merged expert's rows count by gate mass
        return ExpertStatistics(_fractions(mass.detach()), probs, mass, probs)
    demand = torch.bincount(cell, minlength=groups * e).view(groups, e)[used]
    return ExpertStatistics(_fractions(demand.to(probs.dtype)), probs, mass, probs)


def _of_step(routing: Routing) -> ExpertStatistics:
    """Values of all micro-batches and ranks so far, with the gradient of this batch.

    The mean over a step's batches of a loss's gradients is thus the gradient of the loss of the
    whole step, except that earlier batches do not see later ones.
    """
    own = _of_batch(routing)
    total = step_sums(routing) if routing.step_statistics is None else routing.step_statistics
    demand, probs, importance, items, *_ = total.to(own.probs.dtype)
    factors, totals = _load_factors(routing), total[4:].to(own.probs.dtype)
    items, own_items = items.clamp_min(1), routing.num_real.clamp_min(1)
    return ExpertStatistics(
        _fractions(demand).unsqueeze(0),
        _valued(own.probs, probs / items),
        _valued(own.importance, importance / items),
        own.probs,
        None if factors is None else _expected_of_step(factors, own_items, totals, items),
    )


def _expected_of_step(own: Tensor, own_items: Tensor, total: Tensor, items: Tensor) -> Tensor:
    """Expected load per item ``(1, E)`` from the factors of this batch and those of the step.

    A product of two means, each with the value of the step and the gradient of this batch, which
    is scaled to the size of the step.
    """
    count = total[2].clamp_min(1)
    first = _valued(own[0] / own_items, total[0] / items)
    second = _valued(own[1] * (items / own_items) / count, total[1] / count)
    return (first * second).unsqueeze(0)


def _load_factors(routing: Routing) -> Tensor | None:
    """``extras["load_factors"]``; without them, of an expected load that is a sum over items."""
    expected = routing.expected_load
    if expected is None or "load_factors" in routing.extras:
        return routing.extras.get("load_factors")
    return torch.stack([expected, torch.ones_like(expected), torch.ones_like(expected)])


_STATISTICS: dict[str, Callable[[Routing], ExpertStatistics]] = {
    "batch": _of_batch,
    "sequence": _of_groups,
    "step": _of_step,
}


def step_sums(routing: Routing) -> Tensor:
    """The summands of ``Routing.step_statistics``, to be added over micro-batches and ranks.

    ``(7, E)`` float64: requested assignments, probabilities, gate mass, items, and the three
    factors of the expected load (``Routing.extras``).

    >>> from routers import Items
    >>> one = Routing.by_item(Items(torch.zeros(1, 1)), torch.tensor([[1]]), torch.ones(1, 1), 2)
    >>> step_sums(one)[0].tolist()
    [0.0, 1.0]
    """
    demand = routing.requested_load.double()
    factors = _load_factors(routing)
    rows = [
        demand,
        routing.prob_sums.double(),
        routing.importance.double(),
        routing.num_real.double().expand_as(demand),
        *(demand.new_zeros(3, len(demand)) if factors is None else factors.double()),
    ]
    # not under no_grad: the routing caches what it computed
    return torch.stack([row.detach() for row in rows])


def _fractions(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True).clamp_min(torch.finfo(counts.dtype).tiny)


def _valued(gradient: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient of ``gradient``."""
    return value + (gradient - gradient.detach())
