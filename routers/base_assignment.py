"""BASE layers: a balanced assignment of items to experts in training."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .gates import GateSpec
from .routing import Items, Routing

#: Up to this many items the exact optimum takes milliseconds. For 4,096 items and 64 experts it
#: takes 5 to 20 s on one core, the auction mostly 0.1 to 0.7 s.
_MAX_ITEMS_EXACT = 256


@ROUTERS.register("base_assignment")
class BaseAssignment(Router):
    """A balanced assignment with the largest sum of scores in training, the argmax in eval.

    ``a = argmax sum_t x_t . c_a(t)``, where each expert has at most ``ceil(n / E)`` of a
    group's ``n`` items: a linear assignment problem, solved exactly for up to 256 items and
    approximately above (``auction``). In eval an item's expert is ``argmax_e x . c_e``. The weight
    is ``sigmoid(x . c_a)``. Balance needs no loss in training and is not enforced in eval.

    Source: BASE layers, Lewis et al. 2021, 2103.16716, equations 1 to 3 and algorithm 1.

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
                expert[real] = balanced_assignment(logits[real])
        expert = expert.unsqueeze(1)
        weight = self.gate.pick(items, logits, expert).sigmoid()
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


def balanced_assignment(scores: Tensor) -> Tensor:
    """The expert of each item, ``(n,)``, with at most ``ceil(n / E)`` items per expert.

    >>> balanced_assignment(torch.tensor([[3.0, 0.0], [2.0, 1.0]])).tolist()
    [0, 1]
    """
    n, experts = scores.shape
    places = -(-n // experts)
    finite = np.nan_to_num(scores.detach().cpu().double().numpy())
    if n > _MAX_ITEMS_EXACT:
        return torch.from_numpy(auction(finite, places)).to(scores.device)
    from scipy.optimize import linear_sum_assignment  # slow to import

    _, seat = linear_sum_assignment(finite.repeat(max(places, 1), 1), maximize=True)
    return torch.from_numpy(seat // max(places, 1)).to(scores.device)


Scores = npt.NDArray[np.float64]
Experts = npt.NDArray[np.int64]

#: Rounds per expert, after which items without an expert take free places: if a gap between scores
#: absorbs the increment, the auction does not terminate.
_MAX_ROUNDS_PER_EXPERT = 100


def auction(scores: Scores, places: int, tolerance: float = 1e-2) -> Experts:
    """A nearly optimal expert of each item, ``(n,)``, with at most ``places`` items per expert.

    Each unassigned item bids for the expert of the highest value, which is score minus price: the
    price at which its second best has the same value, plus an increment. An expert keeps its
    highest bidders; once it is full, its price is the lowest bid that it keeps. The sum of scores
    is within ``n`` increments of the optimum, unless the maximum of rounds is reached: the
    remaining items then take free places.

    Source: Bertsekas and Castanon 1989, "The auction algorithm for the transportation problem"
    (Annals of Operations Research 20:67, doi 10.1007/BF02216923).

    Args:
        scores: ``(n, E)``, finite.
        places: maximum of items per expert; ``E * places >= n``.
        tolerance: increment relative to the mean over items of the best minus the mean score.

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
    for _ in range(_MAX_ROUNDS_PER_EXPERT * experts):
        if not len(waiting):
            break
        value = scores[waiting] - prices
        best = value.argmax(1)
        mine = np.arange(len(waiting))
        value[mine, best] = -np.inf
        bids[waiting] = scores[waiting, best] - value.max(1) + step
        held[waiting] = best
        waiting = _outbid(held, bids, prices, np.unique(best), places)
        held[waiting] = -1
    _take_free_places(held, waiting, scores, places)
    return held


def _outbid(held: Experts, bids: Scores, prices: Scores, sold: Experts, places: int) -> Experts:
    """The lowest bidders of experts over ``places``; sets the prices of full experts."""
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


def _take_free_places(held: Experts, waiting: Experts, scores: Scores, places: int) -> None:
    """Assign the waiting items in turn to their best expert with a free place."""
    left = places - np.bincount(held[held >= 0], minlength=scores.shape[1])
    for item in waiting:
        held[item] = np.where(left > 0, scores[item], -np.inf).argmax()
        left[held[item]] -= 1
