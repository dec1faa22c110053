"""Shapley values by sampling of permutations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Players that are present.
Coalition = frozenset[int]

#: Probability that an interval covers the value.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Shapley:
    """Shapley values of players, with 95% intervals over pairs of permutations.

    Attributes:
        values: ``(players,)``; their sum is the value of all players less that of none.
        low, high: Student's interval; NaN for a single pair.
    """

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def draw_orders(players: int, permutations: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Random orders of players, each followed by its reverse; ``permutations`` is even.

    >>> draw_orders(3, 2)
    [(2, 0, 1), (1, 0, 2)]
    """
    random = np.random.default_rng(seed)
    orders = (tuple(random.permutation(players).tolist()) for _ in range(permutations // 2))
    return [each for order in orders for each in (order, order[::-1])]


def coalitions(order: Sequence[int]) -> Iterator[Coalition]:
    """The players before each place of an order, from none to all."""
    return (frozenset(order[:place]) for place in range(len(order) + 1))


def shapley_values(orders: Sequence[Sequence[int]], value: Callable[[Coalition], float]) -> Shapley:
    """Mean over orders of what each player adds to the value of those before it.

    A pair of an order and its reverse is one observation, as their errors cancel in part.

    Source: Castro et al. 2009 (Computers & Operations Research, doi 10.1016/j.cor.2008.04.004);
    antithetic pairs: Mitchell et al. 2022, 2104.12199, section 3.1.

    Args:
        orders: as ``draw_orders`` returns them.
        value: of a coalition.

    >>> shapley_values(draw_orders(2, 2), lambda present: len(present) ** 2).values.tolist()
    [2.0, 2.0]
    """
    from scipy import stats

    added = np.zeros((len(orders), len(orders[0])))
    for row, order in enumerate(orders):
        values = [value(present) for present in coalitions(order)]
        added[row, list(order)] = np.diff(values)
    pairs = added.reshape(-1, 2, added.shape[1]).mean(1)
    mean, count = pairs.mean(0), len(pairs)
    reach = np.full_like(mean, np.nan)
    if count > 1:
        spread = pairs.std(0, ddof=1) / np.sqrt(count)
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * spread
    return Shapley(mean, mean - reach, mean + reach)
