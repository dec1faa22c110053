"""Co-activation: experts of one layer that work on the same items."""

import numpy as np
from numpy.typing import NDArray

from .routes import Matrix, indicator


def coactivation(routes: Matrix) -> NDArray[np.float64]:
    """Share of the items of each expert (row) that another one (column) also has, ``(E, E)``.

    The diagonal is 1; a row of an expert without items is 0. ``routes`` are ``(N, E)``. Source:
    Muennighoff et al. 2024, 2409.02060, section 5.2: ``N_ij / N_i``.

    >>> coactivation(np.array([[1, 1, 0], [1, 0, 1]])).tolist()
    [[1.0, 0.5, 0.5], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    found = indicator(routes)
    both = (found.T @ found).toarray()
    shares: NDArray[np.float64] = both / np.maximum(both.diagonal(), 1)[:, None]
    return shares


def pairing(routes: Matrix) -> float:
    """Share of an expert's items that its most frequent partner has, a mean over assignments.

    0 if every item has one expert, 1 if experts work only in fixed groups. It is the metric
    ``coactivation`` of a layer.

    >>> pairing(np.array([[1, 1, 0], [1, 0, 1]]))  # (1 + 1 + 1) / 4
    0.75
    """
    found = indicator(routes)
    both = (found.T @ found).toarray()
    load = both.diagonal().sum()
    np.fill_diagonal(both, 0)
    return float(both.max(1, initial=0).sum() / load) if load else 0.0
