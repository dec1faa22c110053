"""Relaxed Bernoulli choices times Dirichlet shares: DirMoE, Vahidi et al. 2026, 2602.09001.

Shares are gamma draws over their sum; a gamma draw is the proposal of Marsaglia and Tsang (2000)
for a shape above 1, times a uniform draw to the power ``1 / shape``.
"""

import math

import numpy as np

from ._case import Case, best, shares, sigmoid, softplus

OPTIONS = [{}, {"k": 1.0, "mass": 0.6}, {"temperature": 0.5, "floor": 0.1, "concentration": 1.0}]


def _logits(case: Case) -> np.ndarray:
    return case.scores() + case.state["bias"]


def weights(case: Case) -> np.ndarray:
    w, h, o = case.nothing(), _logits(case), case.options
    k, n = o["k"], case.num_experts
    low = min(1.0, (1 - o["mass"]) / o["mass"] * k / (n - k))
    for i in case.items:
        for e in range(n):
            noise = (
                math.log(case.draws[0][i, e] / (1 - case.draws[0][i, e])) if case.training else 0
            )
            z = sigmoid((h[i, e] + noise) / o["temperature"])
            factor = {
                name: min(max(softplus(case.x[i] @ case.state[name][e]) / math.log(2), 0.1), 10)
                for name in ("high", "low")
            }
            a = o["concentration"] * (z * factor["high"] + (1 - z) * low * factor["low"])
            if case.training:
                normal, uniform = case.draws[1][i, e], case.draws[2][i, e]
                d = a + 1 - 1 / 3
                proposal = d * max(1 + normal / math.sqrt(9 * d), 1e-3) ** 3
                w[i, e] = z * proposal * uniform ** (1 / a)
            elif z > 0.5 or e == best(h[i], 1)[0]:
                w[i, e] = z * a
    return shares(w)


def chosen(case: Case) -> np.ndarray:
    if not case.training:
        return weights(case) != 0
    return np.tile(case.real[:, None], case.num_experts)


def probs(case: Case) -> np.ndarray:
    return shares(sigmoid(_logits(case)))
