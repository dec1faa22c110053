"""K choices among +, - and null experts: TC-MoE, Yan et al. 2025 (ICLR)."""

import numpy as np

from ._case import Case, best, softmax

OPTIONS = [{}, {"k": 4, "nulls": 2}, {"k": 1}]


def _scores(case: Case) -> np.ndarray:
    n, h, null = case.num_experts, case.scores(), case.scores("null_gate.weight")
    return np.concatenate([h[:, :n], h[:, n:] - 1, null - 10], 1)


def _choices(case: Case, i: int) -> list[int]:
    return best(_scores(case)[i], case.options["k"])


def weights(case: Case) -> np.ndarray:
    w, n = case.nothing(), case.num_experts
    for i in case.items:
        p = softmax(_scores(case)[i])
        real = [choice for choice in _choices(case, i) if choice < 2 * n]
        total = sum(p[choice] for choice in real) + sum(p[2 * n :])
        for choice in real:
            w[i, choice % n] += (1 if choice < n else -1) * p[choice] / total
    return w


def chosen(case: Case) -> np.ndarray:
    found = case.nothing().astype(bool)
    for i in case.items:
        for choice in _choices(case, i):
            if choice < 2 * case.num_experts:
                found[i, choice % case.num_experts] = True
    return found


def probs(case: Case) -> np.ndarray:
    n = case.num_experts
    power = np.exp(_scores(case)[:, : 2 * n])
    both = power[:, :n] + power[:, n:]
    return both / both.sum(1, keepdims=True)
