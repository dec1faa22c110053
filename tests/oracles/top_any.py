"""Every expert with ``sigma(cos) > sigma(g)``, equally: DynMoE, Guo et al. 2024, 2405.14297.

In evaluation an item that exceeds no threshold has the expert of the largest cosine.
"""

import numpy as np

from ._case import Case, best, sigmoid

OPTIONS = [{}, {"gate": {"name": "cosine", "project": 0, "temperature": 0.3}}, {"gate": "linear"}]


def _similarities(case: Case) -> np.ndarray:
    if "gate.weight" in case.state:
        return case.scores()
    h, scale = case.nothing(), np.exp(-case.state["gate.log_temperature"][0])
    for i, x in enumerate(case.x):
        for e, c in enumerate(case.state["gate.centroid"]):
            h[i, e] = scale * np.dot(x, c) / (np.linalg.norm(x) * np.linalg.norm(c))
    return h


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), _similarities(case)
    threshold = sigmoid(case.state["threshold"])
    for i in case.items:
        chosen = [e for e in range(case.num_experts) if sigmoid(h[i, e]) > threshold[e]]
        if not chosen and not case.training:
            chosen = best(h[i], 1)
        for e in chosen:
            w[i, e] = 1 / len(chosen)
    return w


def probs(case: Case) -> np.ndarray:
    s = sigmoid(_similarities(case))
    return s / s.sum(1, keepdims=True)
