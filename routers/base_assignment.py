"""Items are dealt out to experts, evenly and as well as can be."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .gates import GateSpec, pick
from .routing import Items, Routing

#: Up to so many items the optimum takes milliseconds; of 4,096 items and 64 experts it takes
#: 5 to 20 s on one core, the auction mostly 0.1 to 0.7 s.
_EXACT = 256


@ROUTERS.register("base_assignment")
class BaseAssignment(Router):
    """In training items are dealt out evenly, so that the sum of their scores is largest.

    ``a = argmax sum_t x_t . c_a(t)``, where no expert gets more than ``ceil(n / E)`` of a
    group's ``n`` items: a linear assignment, exact for up to 256 items and nearly so
    above (``auction``). In eval an item goes to its ``argmax_e x . c_e``. The weight is
    ``sigmoid(x . c_a)``. Balance in training needs no loss; in eval nothing enforces it.

    Source: BASE layers, Lewis et al. 2021, 2103.16716, equations 1 to 3 and algorithm 1.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        gate: what scores the pairs.

    >>> router = BaseAssignment(4, 2)
    >>> router(Items(torch.randn(6, 4))).load.tolist()
    [3, 3]
    """

    traits = Traits(per_item=False, causal=False, convex=False)

    def __init__(self, dim: int, num_experts: int, *, gate: GateSpec = "linear") -> None:
        super().__init__(dim, num_experts)
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = logits.detach().argmax(1)
        if self.training:
            place = torch.arange(len(items), device=expert.device)
            for group in items.grouped(place):
                real = group[items.real()[group]]
                expert[real] = dealt_out(logits[real])
        expert = expert.unsqueeze(1)
        weight = pick(self.gate, items, logits, expert).sigmoid()
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


def dealt_out(scores: Tensor) -> Tensor:
    """An expert for each item, ``(n,)``, none with more than ``ceil(n / E)``.

    >>> dealt_out(torch.tensor([[3.0, 0.0], [2.0, 1.0]])).tolist()
    [0, 1]
    """
    n, experts = scores.shape
    places = -(-n // experts)
    finite = np.nan_to_num(scores.detach().cpu().double().numpy())
    if n > _EXACT:
        return torch.from_numpy(auction(finite, places)).to(scores.device)
    from scipy.optimize import linear_sum_assignment  # takes as long to import as this package

    _, seat = linear_sum_assignment(finite.repeat(max(places, 1), 1), maximize=True)
    return torch.from_numpy(seat // max(places, 1)).to(scores.device)


Scores = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.int64]

#: Rounds per expert after which whoever has no place takes what is free: scores with a gap that
#: swallows the increment would go on for ever.
_PATIENCE = 100


def auction(scores: Scores, places: int, tolerance: float = 1e-2) -> Chosen:
    """An expert for each item, none with more than ``places``; the sum of scores nearly largest.

    Items without an expert bid for the one that is worth most to them at its price, up to
    where their second best would be worth as much, and a little more. An expert keeps its
    highest bidders; once it is full its price is the lowest bid it holds. The sum ends within
    ``n`` times that little of the optimum, unless it takes too long: who then still has no
    expert is seated where there is room.

    Source: Bertsekas and Castanon 1989, "The auction algorithm for the transportation problem"
    (Annals of Operations Research 20:67, doi 10.1007/BF02216923).

    Args:
        scores: ``(n, E)``, finite.
        places: per expert; ``E`` times as many are at least ``n``.
        tolerance: the little more, relative to how far an item's best score lies above its
            mean score, on average.

    Returns:
        ``(n,)``.

    >>> auction(np.array([[3.0, 0.0], [2.0, 0.0], [2.5, 2.0]]), places=2).tolist()
    [0, 0, 1]
    """
    n, experts = scores.shape
    if experts == 1:
        return np.zeros(n, dtype=np.int64)
    gain = float((scores.max(1) - scores.mean(1)).mean()) if n else 0.0
    step = tolerance * gain + 1e-12 * max(1.0, float(np.abs(scores).max(initial=0.0)))
    prices = np.zeros(experts)
    held, bids = np.full(n, -1), np.zeros(n)
    waiting = np.arange(n)
    for _ in range(_PATIENCE * experts):
        if not len(waiting):
            break
        value = scores[waiting] - prices
        best = value.argmax(1)
        mine = np.arange(len(waiting))
        value[mine, best] = -np.inf
        bids[waiting] = scores[waiting, best] - value.max(1) + step
        held[waiting] = best
        waiting = _turned_away(held, bids, prices, np.unique(best), places)
        held[waiting] = -1
    _seat(held, waiting, scores, places)
    return held


def _turned_away(held: Chosen, bids: Scores, prices: Scores, sold: Chosen, places: int) -> Chosen:
    """The lowest bidders of experts that hold too many; sets the prices of those that are full."""
    losers = [np.zeros(0, dtype=np.int64)]
    for expert in sold:
        bidders = np.flatnonzero(held == expert)
        if len(bidders) < places:
            continue
        split = np.argpartition(bids[bidders], len(bidders) - places)
        first_in = bidders[split[len(bidders) - places]]
        prices[expert] = bids[first_in]
        losers.append(bidders[split[: len(bidders) - places]])
    return np.concatenate(losers)


def _seat(held: Chosen, waiting: Chosen, scores: Scores, places: int) -> None:
    """Gives each who waits the best expert with a place left, one after the other."""
    left = places - np.bincount(held[held >= 0], minlength=scores.shape[1])
    for item in waiting:
        held[item] = np.where(left > 0, scores[item], -np.inf).argmax()
        left[held[item]] -= 1
