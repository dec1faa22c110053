"""GShard, Lepikhin et al. 2020, 2006.16668, algorithm 1, without its capacity.

A number drawn for the second choice, below ``2 g2``, sends the item there too.
"""

import numpy as np

from ._case import Case, best, softmax, softmax_rows


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        p = softmax(h[i])
        first, second = best(p, 2)
        g1, g2 = p[first] / (p[first] + p[second]), p[second] / (p[first] + p[second])
        w[i, first] = g1
        if not case.training or 2 * g2 > case.draws[0][i, 1]:
            w[i, second] = g2
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
