"""``softmax(x W / T)`` over all experts: Jacobs et al. 1991, equation 1."""

import numpy as np

from ._case import Case, softmax

OPTIONS = [{}, {"temperature": 0.3}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        w[i] = softmax(h[i] / case.options["temperature"])
    return w


probs = weights
