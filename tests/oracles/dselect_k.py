"""Selectors that encode an expert in smooth bits: Hazimeh et al. 2021, 2106.03760."""

import math

import numpy as np

from ._case import Case, shares, softmax

OPTIONS = [{}, {"k": 1, "gamma": 0.5}, {"k": 3, "gamma": 8.0}]
EXPERTS = (6, 8)


def _smooth_step(t: float, gamma: float) -> float:
    if t <= -gamma / 2:
        return 0.0
    if t >= gamma / 2:
        return 1.0
    return -2 * t**3 / gamma**3 + 3 * t / (2 * gamma) + 0.5


def weights(case: Case) -> np.ndarray:
    k, gamma = case.options["k"], case.options["gamma"]
    width = math.ceil(math.log2(case.num_experts))
    w, h = case.nothing(), case.scores()
    for i in case.items:
        of_selectors = h[i].reshape(k, width + 1)  # its bits, then how much it counts
        z, alpha = of_selectors[:, :width], softmax(of_selectors[:, width])
        for selector in range(k):
            for e in range(case.num_experts):
                r = 1.0
                for bit in range(width):
                    s = _smooth_step(z[selector, bit], gamma)
                    r *= s if (e >> bit) % 2 else 1 - s
                w[i, e] += alpha[selector] * r
    return w


def probs(case: Case) -> np.ndarray:
    """What lies within reach, as shares; nothing where nothing does."""
    return shares(weights(case))
