"""A plan with equal column sums: Clark et al. 2022, 2202.01169, appendix B.2.1."""

import numpy as np

from ._case import Case, best, sigmoid, softmax, softmax_rows

OPTIONS = [{}, {"k": 1}, {"k": 3, "rounds": 60}]


def _plan(h: np.ndarray, rounds: int) -> np.ndarray:
    plan = np.exp(h)
    for _ in range(rounds):
        plan = plan / plan.sum(1, keepdims=True)  # an item is sent once
        plan = plan / plan.sum(0, keepdims=True) * len(h) / h.shape[1]  # an even share
    return plan


def weights(case: Case) -> np.ndarray:
    w, h, k = case.nothing(), case.scores(), case.options["k"]
    for members in case.members:
        plan = _plan(h[members], case.options["rounds"]) if case.training else h[members]
        for i, row in zip(members, plan, strict=True):
            for e in best(row, k):
                w[i, e] = sigmoid(h[i, e]) if k == 1 else softmax(h[i])[e]
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
