"""Round robin: the i-th real item of a group takes experts iK, iK + 1 … modulo E."""

import numpy as np

from ._case import Case

OPTIONS = [{}, {"k": 1}, {"k": 5}]


def weights(case: Case) -> np.ndarray:
    w, k = case.nothing(), case.options["k"]
    for members in case.members:
        turn = 0
        for i in members:
            for _ in range(k):
                w[i, turn % case.num_experts] = 1 / k
                turn += 1
    return w


probs = weights
