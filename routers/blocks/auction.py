"""Balanced assignment of many items to few experts, nearly at its best, by an auction."""

import numpy as np
import numpy.typing as npt

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
