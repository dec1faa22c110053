"""Disagreement of two routers, after their experts are matched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .churn import churn
from .routes import Matrix, same_items


@dataclass(frozen=True)
class Disagreement:
    """How far two routers send the same items to different experts.

    Attributes:
        share: mean share of an item's experts that differ after matching, in [0, 1]; 0 for a
            router and itself, also under other names of its experts.
        chance: mean of that share if the routes of one were given to other items at random and
            experts were matched again.
        agreement: ``1 - share / chance``: 1 for a router and itself, 0 on average for independent
            routers, whatever their loads and numbers of experts are. 1 if ``chance`` is 0.
        match: ``(E,)``, for each expert of the first router that of the second; -1 for none.
    """

    share: float
    chance: float
    agreement: float
    match: tuple[int, ...]


def disagreement(
    one: Matrix, other: Matrix, *, permutations: int = 20, seed: int = 0
) -> Disagreement:
    """Match the experts of two routers, and measure how far their routes differ.

    Experts are matched one to one so that the mean over items of ``|A & B| / max(|A|, |B|)`` is
    largest (Kuhn 1955, by ``scipy.optimize.linear_sum_assignment``). A matching finds agreement in
    chance as well, so the correction matches again after each permutation of the items; its form
    is that of Cohen 1960, doi 10.1177/001316446002000104.

    Args:
        one, other: ``(N, E)`` and ``(N, E')`` of the same items, not 0 where the item has the
            expert.
        permutations: of the items, over which ``chance`` is the mean.
        seed: of the permutations.

    >>> routes = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    >>> found = disagreement(routes, routes[:, [2, 0, 1]])
    >>> found.share, found.agreement, found.match
    (0.0, 1.0, (1, 2, 0))
    """
    left, right = same_items(one, other)
    match = _match(left, right)
    share = churn(_renamed(left, match, right.shape[1]), right)
    random = np.random.default_rng(seed)
    shares = []
    for _ in range(permutations):
        moved = right[random.permutation(right.shape[0])]
        shares.append(churn(_renamed(left, _match(left, moved), right.shape[1]), moved))
    chance = float(np.mean(shares)) if shares else 0.0
    agreement = 1 - share / chance if chance else 1.0
    return Disagreement(share, chance, agreement, tuple(match.tolist()))


def _match(left: Matrix, right: Matrix) -> NDArray[np.int64]:
    """For each of ``E`` experts the one of the other router that agrees best; -1 for none."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    most = np.maximum(np.maximum(left.sum(1), right.sum(1)), 1)
    shares = left.data / np.repeat(most, np.diff(left.indptr))
    weighted = csr_array((shares, left.indices, left.indptr), shape=left.shape)
    agreement = (weighted.T @ right).toarray()
    match = np.full(left.shape[1], -1, dtype=np.int64)
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    match[rows] = columns
    return match


def _renamed(routes: Matrix, match: NDArray[np.int64], width: int) -> Matrix:
    """``(N, E)`` with experts under the numbers of those they match; others get new numbers."""
    free = match < 0
    names = np.where(free, width - 1 + np.cumsum(free), match)
    return csr_array(
        (routes.data, names[routes.indices], routes.indptr),
        shape=(routes.shape[0], int(max(width, names.max(initial=-1) + 1))),
    )
