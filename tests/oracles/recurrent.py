"""``h = GRU(x W, h_0)`` (RMoE, eq. 4 and 5), ``S = topk(h G)``, weights as those of ``topk``."""

import numpy as np

from ._case import Case, best, sigmoid, softmax, softmax_rows

OPTIONS = [{"width": 3}, {"k": 3, "width": 7}, {"k": 1, "weighting": "probability"}]


def states(case: Case, before: np.ndarray | None = None) -> np.ndarray:
    """One item at a time; gates of reset, update and candidate in this order."""
    s = case.state
    found = []
    for i, x in enumerate(case.x):
        u = s["project.weight"] @ x
        p = len(u)
        h = s["start"] if before is None else before[i]
        of_input = s["gru.weight_ih"] @ u + s["gru.bias_ih"]
        of_state = s["gru.weight_hh"] @ h + s["gru.bias_hh"]
        reset = sigmoid(of_input[:p] + of_state[:p])
        update = sigmoid(of_input[p : 2 * p] + of_state[p : 2 * p])
        new = np.tanh(of_input[2 * p :] + reset * of_state[2 * p :])
        found.append((1 - update) * new + update * h)
    return np.array(found)


def weights(case: Case) -> np.ndarray:
    w = case.nothing()
    h = states(case)
    for i in case.items:
        p = softmax(case.state["gate.weight"] @ h[i])
        chosen = best(p, case.options["k"])
        total = sum(p[e] for e in chosen) if case.options["weighting"] == "renormalized" else 1
        for e in chosen:
            w[i, e] = p[e] / total
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, states(case) @ case.state["gate.weight"].T)
