"""Routing by agreement: Sabour et al. 2017, 1710.09829, procedure 1 and equation 1.

``b`` starts from the gate's scores and not from zero.
"""

import numpy as np

from ._case import Case, softmax

OPTIONS = [{}, {"rounds": 1}, {"rounds": 5, "squash": False}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        w[i] = softmax(h[i])
    return w


probs = weights


def combine(case: Case, outputs: np.ndarray) -> np.ndarray:
    """Of the experts' outputs ``(N, E, F)`` those of the items, ``(N, F)``."""
    h = case.scores()
    result = np.zeros(outputs.shape[::2])
    for i in case.items:
        b = h[i].copy()
        for _ in range(case.options["rounds"]):
            c = softmax(b)
            s = sum(c[e] * outputs[i, e] for e in range(case.num_experts))
            length = np.sqrt((s**2).sum())
            y = length**2 / (1 + length**2) * s / length
            b = b + np.array([outputs[i, e] @ y for e in range(case.num_experts)])
        result[i] = y if case.options["squash"] else s
    return result
