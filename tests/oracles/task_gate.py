"""A softmax gate per task over shared experts: MMoE, Ma et al. 2018, equations 6 and 7."""

import numpy as np

from ._case import Case, best, softmax

OPTIONS = [{"tasks": 4}, {"tasks": 4, "k": 2}]


def _scores(case: Case, i: int) -> np.ndarray:
    first = case.task[i] * case.num_experts
    return case.state["gate.weight"][first : first + case.num_experts] @ case.x[i]


def weights(case: Case) -> np.ndarray:
    w = case.nothing()
    for i in case.items:
        h = _scores(case, i)
        chosen = best(h, case.options["k"] or case.num_experts)
        w[i, chosen] = softmax(h[chosen])
    return w


def probs(case: Case) -> np.ndarray:
    return np.array([softmax(_scores(case, i)) for i in range(len(case.x))])
