"""Churn: the share of an item's experts that changed between two states of a router."""

import numpy as np
from numpy.typing import NDArray

from .routes import Matrix, same_items


def changed(before: Matrix, after: Matrix) -> NDArray[np.float64]:
    """Share of each item's experts that differ, ``(N,)``: ``1 - |A & B| / max(|A|, |B|)``.

    0 for an item without experts in both. Arguments are ``(N, E)``, not 0 where the item has the
    expert.

    >>> changed(np.array([[1, 1, 0], [1, 0, 0]]), np.array([[0, 1, 1], [1, 0, 0]])).tolist()
    [0.5, 0.0]
    """
    left, right = same_items(before, after)
    width = max(left.shape[1], right.shape[1])
    for each in (left, right):
        each.resize(each.shape[0], width)
    both = left.multiply(right).sum(1)
    most = np.maximum(left.sum(1), right.sum(1))
    shares: NDArray[np.float64] = np.where(most > 0, 1 - both / np.maximum(most, 1), 0.0)
    return shares


def churn(before: Matrix, after: Matrix) -> float:
    """Mean of ``changed``: 0 if every item has the experts that it had, 1 if none has any.

    >>> churn(np.array([[1, 1, 0], [1, 0, 0]]), np.array([[0, 1, 1], [1, 0, 0]]))
    0.25
    """
    shares = changed(before, after)
    return float(shares.mean()) if len(shares) else 0.0
