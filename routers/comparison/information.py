"""Mutual information of experts and labels, from a table of counts."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr


def mutual_information(table: ArrayLike) -> float:
    """Mutual information of row and column in bits, from counts ``(E, kinds)``.

    >>> mutual_information([[2.0, 0.0], [0.0, 2.0]])
    1.0
    """
    return float(_information(np.asarray(table, dtype=np.float64))[0] / np.log(2))


def normalized_mutual_information(table: ArrayLike) -> float:
    """How well an expert predicts a kind and a kind an expert: 0 not at all, 1 fully.

    From counts ``(E, kinds)``: mutual information over the arithmetic mean of both entropies; 0
    where there is only one expert or kind. Source: Strehl and Ghosh 2002, JMLR 3; this mean as in
    scikit-learn.

    >>> normalized_mutual_information([[0.0, 2.0], [3.0, 0.0]])
    1.0
    """
    counts = np.asarray(table, dtype=np.float64)
    if (counts.sum(1) > 0).sum() < 2 or (counts.sum(0) > 0).sum() < 2:
        return 0.0
    shared, entropies = _information(counts)
    return max(0.0, min(1.0, 2 * shared / entropies))


def _information(counts: NDArray[np.float64]) -> tuple[float, float]:
    """Mutual information in nats, and the sum of the entropies of rows and columns."""
    joint = counts / max(counts.sum(), np.finfo(np.float64).tiny)
    entropies = float(entr(joint.sum(1)).sum() + entr(joint.sum(0)).sum())
    return max(0.0, entropies - float(entr(joint).sum())), entropies
