"""Routes recorded elsewhere, replayed with weights of a gate or as they are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import require_recorded
from .gates import GateSpec
from .plugins import ConfigError, OptionError, unknown
from .routing import Items, Routing


def over_all(routing: Routing, logits: Tensor) -> Tensor:
    """``softmax(h)[R]``, for the assignments ``R`` of a routing, ``(A,)``."""
    chosen = logits[routing.item, routing.expert]
    return (chosen - logits.logsumexp(-1)[routing.item]).exp()


def over_assigned(routing: Routing, logits: Tensor) -> Tensor:
    """``softmax(h[R])``: an item's weights sum to one, ``(A,)``.

    >>> items = Items(torch.zeros(1, 1))
    >>> routing = Routing.by_item(items, torch.tensor([[2, 0]]), torch.ones(1, 2), 3)
    >>> over_assigned(routing, torch.tensor([[0.0, 9.0, 0.0]])).tolist()
    [0.5, 0.5]
    """
    chosen, item = logits[routing.item, routing.expert], routing.item
    largest = chosen.new_full((routing.num_items,), -torch.inf)
    largest = largest.scatter_reduce(0, item, chosen.detach(), "amax")
    scores = (chosen - largest[item]).exp()
    return scores / scores.new_zeros(routing.num_items).index_add(0, item, scores)[item]


#: Weights of assignments by the scores of all experts, ``(routing, logits (N, E)) -> (A,)``.
WEIGHTS: dict[str, Callable[[Routing, Tensor], Tensor]] = {
    "renormalized": over_assigned,
    "probability": over_all,
}

#: The weighting by which recorded weights stay as they are.
AS_RECORDED = "recorded"

WEIGHTINGS = (*WEIGHTS, AS_RECORDED)


def weigh(routing: Routing, logits: Tensor, weighting: str) -> Routing:
    """The assignments of a routing with weights by scores ``(N, E)``.

    Every expert of an item gets a gradient, also one that the scores would not select.
    """
    weights_of = WEIGHTS[weighting]

    def weighed(old: Routing) -> Routing:
        weight = weights_of(old, logits)
        return replace(old, weight=weight, logits=logits, given_probs=None, candidates=None)

    if routing.before is None:
        return weighed(routing)
    before = weighed(routing.before)
    return replace(weighed(routing), given_importance=before.importance, before=before)


def check_weighting(weighting: str, num_experts: int) -> None:
    """Raise ``OptionError`` for an unknown weighting, or one that is constant for one expert."""
    if weighting not in WEIGHTINGS:
        raise unknown("weighting", weighting, WEIGHTINGS)
    if num_experts == 1 and weighting == "renormalized":
        expected = "probability or recorded with num_experts=1, whose only weight would be 1"
        raise OptionError("weighting", weighting, expected)


def check_gate_learns(weighting: str, routings: Iterable[Routing]) -> None:
    """Raise ``OptionError`` if no item has two experts, so that renormalized weights are all 1."""
    found = [each.item for each in routings if each.num_assignments]
    if weighting == "renormalized" and found and not any((i.bincount() > 1).any() for i in found):
        expected = "probability or recorded, as no item of the recorded routes has two experts"
        why = "A single weight divided by itself is 1, so the gate would get no gradient"
        raise OptionError("weighting", weighting, expected, why)


@ROUTERS.register("replay")
class Replay(Router):
    """Items keep the experts of routes recorded elsewhere; a gate learns their weights.

    ``w_ie = exp(h_ie) / sum_{j in R_i} exp(h_ij)`` for the recorded experts ``R_i`` of an item.
    The sum is over recorded experts and not over those that the gate would select, so an expert
    that it would not select has a weight and a gradient too. Drops by a capacity are part of the
    routes. In a run the routes are those of another run's network in evaluation, on the same
    batch, layer by layer; in code ``experts.replay`` gives those that ``experts.record`` kept.

    Source: Rollout Routing Replay, Ma et al. 2025, 2510.11370, which replays the experts of an
    inference engine in training.

    Args:
        of: folder of the run whose routes are replayed; null in code.
        weighting: ``renormalized`` over the recorded experts (needs two or more), ``probability``
            among all experts, or ``recorded``: weights as they were, without a gate.

    >>> x, expert = torch.randn(2, 4), torch.tensor([[3, 1], [0, 1]])
    >>> recorded = Routing.by_item(Items(x), expert, torch.ones(2, 2), 8)
    >>> Replay(4, 8)(Items(x, recorded=recorded)).expert.tolist()
    [3, 1, 0, 1]
    """

    traits = Traits(needs_recorded=True)
    search_space = {"weighting": list(WEIGHTS)}
    not_static = "its routes are recorded while another network runs"

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        of: str | None = None,
        weighting: str = "renormalized",
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_weighting(weighting, num_experts)
        self.of = of
        self.weighting = weighting
        learns = weighting != AS_RECORDED
        self.gate = self.build_gate(gate) if learns else None
        self.set_traits(learned=learns, has_logits=learns, convex=weighting == "renormalized")

    def take_experts(
        self, index: Sequence[int], heirs: Sequence[int] | None = None
    ) -> Router | None:
        raise ConfigError(
            "router=replay: its routes name the experts of another network, so they cannot be "
            "selected, copied or merged here; edit that network, or replace the router first"
        )

    def forward(self, items: Items) -> Routing:
        routing = require_recorded(items, self.num_experts, "replay").for_items(items)
        if self.gate is None:
            return routing
        return weigh(routing, self.gate(items), self.weighting)
