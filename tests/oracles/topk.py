"""``S = topk(x W)``; weights ``softmax(h)[S]`` (Switch, eq. 2) or that over its sum (GShard)."""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"k": 3}, {"k": 1, "weighting": "probability"}, {"k": 6, "jitter": 0.3}]


def _scores(case: Case) -> np.ndarray:
    x = case.x
    if case.draws:  # Switch: the input times noise, not the scores
        x = x * case.draws[0]
    return x @ case.state["gate.weight"].T


def weights(case: Case) -> np.ndarray:
    w = case.nothing()
    for i in case.items:
        p = softmax(_scores(case)[i])
        chosen = best(p, case.options["k"])
        total = sum(p[e] for e in chosen) if case.options["weighting"] == "renormalized" else 1
        for e in chosen:
            w[i, e] = p[e] / total
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, _scores(case))
