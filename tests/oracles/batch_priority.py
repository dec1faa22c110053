"""V-MoE, Riquelme et al. 2021, 2106.05974: equation 2, section 4.1 and algorithm 2.

The chance of a place leaves an expert's own score out of its threshold (Shazeer et al. 2017).
"""

import math

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"capacity": 0.5}, {"k": 3, "capacity": 0.7, "weighting": "renormalized"}]


def _noisy(case: Case) -> np.ndarray:
    h = case.scores()
    return h + case.draws[0] / case.num_experts if case.training else h


def weights(case: Case) -> np.ndarray:
    k, factor, h = case.options["k"], case.options["capacity"], _noisy(case)
    w = case.nothing()
    for members in case.members:
        places = math.ceil(factor * k * len(members) / case.num_experts - 1e-9)
        chosen = {i: best(softmax(h[i]), k) for i in members}
        weight = {}
        for i in members:
            p = softmax(h[i])
            total = sum(p[e] for e in chosen[i])
            scale = total if case.options["weighting"] == "renormalized" else 1
            weight[i] = {e: p[e] / scale for e in chosen[i]}
        surest = sorted(members, key=lambda i: -max(weight[i].values()))
        filled = [0] * case.num_experts
        for choice in range(k):
            for i in surest:
                e = chosen[i][choice]
                if filled[e] < places:
                    filled[e] += 1
                    w[i, e] = weight[i][e]
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, _noisy(case))


def expected_load(case: Case) -> np.ndarray:
    k, clean, noisy = case.options["k"], case.scores(), _noisy(case)
    total = np.zeros(case.num_experts)
    for i in case.items:
        for e in range(case.num_experts):
            others = sorted((noisy[i, j] for j in range(case.num_experts) if j != e), reverse=True)
            z = (clean[i, e] - others[k - 1]) * case.num_experts
            total[e] += 0.5 * math.erfc(-z / math.sqrt(2))
    return total
