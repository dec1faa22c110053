"""2505.13380: in a training batch with competition the strongest outputs, else the gate's choice.

The batch competes if the number drawn for it is below the rate.
"""

import numpy as np

from ._case import Case, best, softmax, softmax_rows, softplus

OPTIONS = [{"rate": 0.99}, {"rate": 0.0, "k": 3}]


def _competes(case: Case) -> bool:
    return case.training and float(case.draws[0]) < case.options["rate"]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        if _competes(case):
            w[i] = 1 / len(w[i])
            continue
        chosen = best(h[i], case.options["k"])
        w[i, chosen] = softmax(h[i][chosen])
    return w


def combine(case: Case, outputs: np.ndarray) -> np.ndarray:
    y = np.zeros(outputs[:, 0].shape)
    for i in case.items if _competes(case) else []:
        response = softplus(outputs[i]).mean(1)
        chosen = best(response, case.options["k"])
        y[i] = response[chosen] @ outputs[i][chosen] / response[chosen].sum()
    return y


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
