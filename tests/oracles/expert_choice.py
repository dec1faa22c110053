"""Each expert its top ``C = ceil(factor n / E)`` of a group by ``softmax(x W)``, 2202.09368."""

import math

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"factor": 1.0}, {"factor": 2.7}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for members in case.members:
        p = np.array([softmax(h[i]) for i in members])
        capacity = math.ceil(case.options["factor"] * len(members) / case.num_experts)
        for e in range(case.num_experts):
            for place in best(p[:, e], capacity) if members else []:
                w[members[place], e] = p[place, e]
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
