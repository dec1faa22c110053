"""The K largest of ``h + g``, ``g = -log(-log u)``, equally: 1611.01144 and 1903.06059.

Minus the logarithm of a uniform number is an exponential one, which is what is drawn.
"""

import numpy as np

from ._case import Case, best, softmax_rows

OPTIONS = [{}, {"k": 1}, {"k": 4}]


def weights(case: Case) -> np.ndarray:
    w, h, k = case.nothing(), case.scores(), case.options["k"]
    if case.training:
        h = h - np.log(case.draws[0])
    for i in case.items:
        for e in best(h[i], k):
            w[i, e] = 1 / k
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
