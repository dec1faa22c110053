"""2505.13380: the strongest outputs of items for which experts compete, else the gate's choice.

Experts compete in training for an item if the number drawn for it is below the rate.
"""

import numpy as np

from ._case import Case, best, softmax, softmax_rows, softplus

OPTIONS = [{"rate": 0.5}, {"k": 3}]


def _competes(case: Case, i: int) -> bool:
    return case.training and float(case.draws[0][i, 0]) < case.options["rate"]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        chosen = best(h[i], case.options["k"])
        w[i, chosen] = softmax(h[i][chosen])
        if _competes(case, i):
            w[i] = 1 / len(w[i])
    return w


def combine(case: Case, outputs: np.ndarray) -> np.ndarray:
    y, given = np.zeros(outputs[:, 0].shape), weights(case)
    for i in case.items:
        share = given[i]
        if _competes(case, i):
            response = softplus(outputs[i]).mean(1)
            chosen = best(response, case.options["k"])
            share = np.zeros(len(response))
            share[chosen] = response[chosen] / response[chosen].sum()
        y[i] = share @ outputs[i]
    return y


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
