"""The K best of a group's pool, the C experts with the largest sums of probability: 2605.06663.

C is drawn for every group in training; in evaluation it is a share of the experts.
"""

import math

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"share": 1.0, "k": 1}, {"share": 0.1, "k": 3, "smallest": 0.4, "largest": 0.6}]


def weights(case: Case) -> np.ndarray:
    w, h, k = case.nothing(), case.scores(), case.options["k"]
    for group, members in enumerate(case.members):
        size = max(k, math.ceil(case.options["share"] * case.num_experts))
        if case.training:
            size = int(case.draws[0][group, 0])
            bounds = (case.options[name] * case.num_experts for name in ("smallest", "largest"))
            least, most = (max(k, math.ceil(bound)) for bound in bounds)
            assert least <= size <= most
        total = sum((softmax(h[i]) for i in members), np.zeros(case.num_experts))
        pool = best(total, size)
        for i in members:
            p = softmax(h[i][pool])
            for place in best(p, k):
                w[i, pool[place]] = p[place]
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
