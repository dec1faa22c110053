"""Shazeer et al. 2017, equations 3 to 5 (the gate) and 8 to 10 (the load), 1701.06538."""

import math

import numpy as np

from ._case import Case, best, softmax, softmax_rows, softplus

OPTIONS = [{}, {"k": 4}, {"k": 6}]
EXPERTS = (6, 7)
FLOOR = 0.01  # added to the paper's standard deviation, so that it never divides by zero


def _noise(case: Case) -> np.ndarray:
    return softplus(case.x @ case.state["scores.spread"].T) + FLOOR


def _clean(case: Case) -> np.ndarray:
    return case.scores("scores.gate.weight")


def _noisy(case: Case) -> np.ndarray:
    h = _clean(case)
    return h + case.draws[0] * _noise(case) if case.training else h


def weights(case: Case) -> np.ndarray:
    w = case.nothing()
    for i in case.items:
        h = _noisy(case)[i]
        kept = np.full(case.num_experts, -np.inf)
        for e in best(h, case.options["k"]):
            kept[e] = h[e]
        w[i] = softmax(kept)
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, _noisy(case))


def expected_load(case: Case) -> np.ndarray:
    k, clean, noisy, std = case.options["k"], _clean(case), _noisy(case), _noise(case)
    total = np.zeros(case.num_experts)
    for i in case.items:
        for e in range(case.num_experts):
            others = sorted((noisy[i, j] for j in range(case.num_experts) if j != e), reverse=True)
            if k > len(others):
                total[e] += 1  # there is a place for everyone
                continue
            z = (clean[i, e] - others[k - 1]) / std[i, e]
            total[e] += 0.5 * math.erfc(-z / math.sqrt(2))
    return total
