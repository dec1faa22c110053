"""Experts' parameters averaged by the gate of a mean: SMEAR, 2306.03745, equation 2."""

import numpy as np

from ._case import Case, softmax

OPTIONS = [{}, {"over": "item"}]


def weights(case: Case) -> np.ndarray:
    w, gate = case.nothing(), case.state["gate.weight"]
    parts = case.members if case.options["over"] == "group" else [[i] for i in case.items]
    for part in parts:
        for i in part:
            w[i] = softmax(gate @ (sum(case.x[j] for j in part) / len(part)))
    return w


probs = weights
