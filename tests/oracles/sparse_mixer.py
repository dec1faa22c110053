"""K experts drawn in turn; weights scaled at random: SparseMixer 2310.00811, GRIN 2409.12136."""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"k": 1, "estimator": "midpoint"}, {"k": 3, "margin": 0.5}]
#: Share of the weight of a sampled expert, and the probability of the whole weight.
POINTS = {"midpoint": (1 / 2, 1 / 2), "heun": (1 / 3, 1 / 4)}


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    point, full = POINTS[case.options["estimator"]]
    for i in case.items:
        left = list(range(case.num_experts))
        for choice in range(case.options["k"]):
            top = max(h[i, e] for e in left)
            gap = {e: (top - h[i, e]) / max(abs(h[i, e]), top) for e in left}
            near = [e for e in left if gap[e] <= 2 * case.options["margin"]]
            p = softmax(h[i, near])
            place, share = best(p, 1)[0], 1.0
            if case.training:
                wait, uniform = case.draws[2 * choice][i, near], case.draws[2 * choice + 1][i, 0]
                place = best(p / wait, 1)[0]  # the first of exponential waiting times
                share = 1.0 if h[i, near[place]] == top or uniform < full else point
            w[i, near[place]] = share * p[place]
            left.remove(near[place])
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
