"""The top K of a gate with its initial parameters, softmax over the selected (2303.01610)."""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"k": 3}, {"k": 1}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        chosen = best(h[i], case.options["k"])
        w[i, chosen] = softmax(h[i][chosen])
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
