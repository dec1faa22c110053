"""2501.13074: the experts with the longest first activation, weighted by a softmax over them."""

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{}, {"k": 3}, {"k": 1, "weighting": "probability"}]


def _scores(case: Case) -> np.ndarray:
    return np.array(
        [[np.sqrt(((x @ read) ** 2).sum()) for read in case.projections] for x in case.x]
    )


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), _scores(case)
    for i in case.items:
        chosen = best(h[i], case.options["k"])
        every = case.options["weighting"] == "probability"
        w[i, chosen] = softmax(h[i])[chosen] if every else softmax(h[i][chosen])
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, _scores(case))
