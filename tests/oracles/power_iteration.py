"""2606.12397: a gate row after one step of power iteration on its expert's matrix."""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"k": 1, "weighting": "probability", "scale": 2.0}]


def _scores(case: Case) -> np.ndarray:
    h = case.nothing()
    for e, (row, read) in enumerate(zip(case.state["weight"], case.projections, strict=True)):
        step = sum(float(row @ column) * column for column in read.T)
        step = step / np.sqrt((step**2).sum()) * case.options["scale"]
        h[:, e] = [float(x @ step) for x in case.x]
    return h


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), _scores(case)
    for i in case.items:
        p = softmax(h[i])
        chosen = best(h[i], case.options["k"])
        total = p[chosen].sum() if case.options["weighting"] == "renormalized" else 1
        w[i, chosen] = p[chosen] / total
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, _scores(case))
