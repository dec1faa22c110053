"""The shortest prefix of sorted ``p = softmax(h)`` that sums to ``P``: Huang et al. 2024."""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"threshold": 0.9}, {"threshold": 0.05}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        p, total = softmax(h[i]), 0.0
        for e in best(p, case.num_experts):
            w[i, e] = p[e]
            total += p[e]
            if total >= case.options["threshold"]:
                break
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
