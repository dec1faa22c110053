"""Overlap: how far two experts work on the same items."""

import numpy as np
from numpy.typing import NDArray

from .routes import Matrix, same_items


def overlap(one: Matrix, other: Matrix) -> NDArray[np.float64]:
    """Items that both of two experts have, as a share of those that either has, ``(E, E')``.

    The Jaccard index of each pair; 0 for two experts without items. Arguments are ``(N, E)`` and
    ``(N, E')`` of the same items: two routers, two layers, or twice the same.

    >>> overlap(np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]])).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    left, right = same_items(one, other)
    both = (left.T @ right).toarray()
    either = left.sum(0)[:, None] + right.sum(0)[None, :] - both
    shares: NDArray[np.float64] = both / np.maximum(either, 1)
    return shares
