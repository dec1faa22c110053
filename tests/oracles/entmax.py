"""``p = [(alpha - 1) h - tau]_+ ^ (1 / (alpha - 1))`` that sums to one: Peters et al. 2019."""

import numpy as np

from ._case import Case

OPTIONS = [{}, {"alpha": 1.2}, {"alpha": 1.8}, {"alpha": 2.0}]


def _entmax(h: np.ndarray, alpha: float) -> np.ndarray:
    """By halving the interval in which ``tau`` lies until nothing is left of it."""
    z = (alpha - 1) * h
    low, high = (
        z.max() - 1,
        z.max(),
    )  # the largest alone sums to 1 at the lower end, none to 0 at the upper
    for _ in range(200):
        tau = (low + high) / 2
        total = (np.maximum(z - tau, 0) ** (1 / (alpha - 1))).sum()
        low, high = (tau, high) if total > 1 else (low, tau)
    return np.maximum(z - low, 0) ** (1 / (alpha - 1))


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        w[i] = _entmax(h[i], case.options["alpha"])
    return w


probs = weights
