"""Mixture-of-Depths, Raposo et al. 2024, 2404.02258: equation 1, and its staged form."""

import math

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [
    {},
    {"share": 0.125},
    {"share": 1.0, "k": 2},
    {"share": 0.3, "k": 3},
    {"predictor": "linear"},
]


def weights(case: Case) -> np.ndarray:
    w, h, k = case.nothing(), case.scores(), case.options["k"]
    r = case.scores("depth_gate.weight")[:, 0]
    for members in case.members:
        capacity = math.ceil(case.options["share"] * len(members) - 1e-9)
        chosen = [members[place] for place in best(r[members], capacity)] if members else []
        if case.options["predictor"] and not case.training:  # its section 3.5
            score = case.scores("predictor.weight")[:, 0] + case.state["offset"][0]
            chosen = [i for i in members if score[i] > 0]
        for i in chosen:
            p = softmax(h[i])
            for e in best(p, k):
                w[i, e] = r[i] * p[e]
    return w


def probs(case: Case) -> np.ndarray:
    """Scores of the gate over experts; the gate of depth has no distribution."""
    return softmax_rows(case, case.scores())
