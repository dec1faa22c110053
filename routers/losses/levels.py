"""What balance terms read of a routing: over its batch, each of its groups, or a whole step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing


@dataclass(frozen=True, eq=False)
class ExpertStatistics:
    """What the experts get of some real items, ``(E,)`` each, or ``(G, E)`` for groups.

    Attributes:
        requested_load: share of all assignments, every choice counted and before drops: ``f``.
        probs: mean of the gate's distribution: ``P``.
        importance: gate mass per item, before drops.
        expected_load: expected assignments per item, where the router has an estimate.
    """

    requested_load: Tensor
    probs: Tensor
    importance: Tensor
    expected_load: Tensor | None = None


def of_batch(routing: Routing) -> ExpertStatistics:
    """Of all real items of the batch."""
    probs = routing.prob_sums
    items = routing.num_real.clamp_min(1)
    expected = routing.expected_load
    return ExpertStatistics(
        _fractions(routing.requested_load.to(probs.dtype)),
        probs / items,
        routing.importance / items,
        None if expected is None else expected / items,
    )


def of_groups(routing: Routing) -> ExpertStatistics:
    """Of each group that has real items; estimates of the load are of whole batches only."""
    asked = routing if routing.before is None else routing.before
    if asked.requested is not None:
        raise ConfigError(
            "losses: a term per group needs to know whose assignments were dropped, and this "
            "routing only knows how many; use the term of the whole batch, or drop nothing"
        )
    groups, e = routing.groups, routing.num_experts
    length = routing.num_items // groups
    real = torch.full((groups,), length, device=asked.item.device)
    real = real if routing.mask is None else routing.mask.view(groups, length).sum(1)
    used = real > 0
    items = real[used].unsqueeze(1)
    probs = routing.prob_sums_by_group[used] / items
    if asked.blend is not None:  # slots, as many from each group
        even = _fractions(asked.load.to(probs.dtype)).expand_as(probs)
        return ExpertStatistics(even, probs, probs)
    cell = asked.item // max(length, 1) * e + asked.expert
    mass = asked.weight.unsqueeze(-1).flatten(1).sum(1)
    mass = mass.new_zeros(groups * e).index_add(0, cell, mass).view(groups, e)[used] / items
    if asked.merge is not None:  # a merged expert's rows count by gate mass
        return ExpertStatistics(_fractions(mass.detach()), probs, mass)
    demand = torch.bincount(cell, minlength=groups * e).view(groups, e)[used]
    return ExpertStatistics(_fractions(demand.to(probs.dtype)), probs, mass)


def of_step(routing: Routing) -> ExpertStatistics:
    """Of all micro-steps and ranks so far: their values, with the gradient of this batch's own.

    So the mean over a step's batches of a term's gradients is the gradient of the term of the
    whole step, as nearly as batches that came first could know of those that came later.
    """
    own = of_batch(routing)
    total = step_sums(routing) if routing.step is None else routing.step
    demand, probs, importance, expected, items = total.to(own.probs.dtype)
    items = items.clamp_min(1)
    return ExpertStatistics(
        _fractions(demand),
        _valued(own.probs, probs / items),
        _valued(own.importance, importance / items),
        None if own.expected_load is None else _valued(own.expected_load, expected / items),
    )


def step_sums(routing: Routing) -> Tensor:
    """What ``Routing.step`` is a sum of: add it over micro-steps and ranks, ``(5, E)`` float64.

    Rows: assignments asked for, probabilities, gate mass, expected load, items.

    >>> from routers import Items
    >>> one = Routing.by_item(Items(torch.zeros(1, 1)), torch.tensor([[1]]), torch.ones(1, 1), 2)
    >>> step_sums(one)[0].tolist()
    [0.0, 1.0]
    """
    demand = routing.requested_load.double()
    expected = routing.expected_load
    rows = [
        demand,
        routing.prob_sums.double(),
        routing.importance.double(),
        torch.zeros_like(demand) if expected is None else expected.double(),
        routing.num_real.double().expand_as(demand),
    ]
    # not under no_grad: the routing keeps what was read of it
    return torch.stack([row.detach() for row in rows])


def _fractions(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True).clamp_min(torch.finfo(counts.dtype).tiny)


def _valued(gradient: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient of ``gradient``."""
    return value + (gradient - gradient.detach())
