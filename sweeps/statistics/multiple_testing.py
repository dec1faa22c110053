"""Correction of p-values for multiple testing."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm 1979).

    Rejecting hypotheses whose adjusted p-value is at most a level bounds the chance of any false
    rejection by that level, for any dependence between the tests. The i-th smallest of m p-values
    is multiplied by m - i + 1, then made monotone.

    Args:
        p_values: of all tests of the family, without NaN.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if np.isnan(p).any():
        raise ValueError("holm: a p-value is NaN; remove comparisons that were not tested")
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()
