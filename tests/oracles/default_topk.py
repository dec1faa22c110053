"""``softmax(h)`` of the K best experts: Panda et al. 2025, 2504.12463.

What stands in for the others is part of the engine, and compared there.
"""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"k": 1}, {"k": 5}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        for e in best(h[i], case.options["k"]):
            w[i, e] = softmax(h[i])[e]
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
