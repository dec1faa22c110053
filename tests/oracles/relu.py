"""``w = ReLU(x W)``: ReMoE, Wang et al. 2024, 2412.14711, equation 4."""

import numpy as np

from ._case import Case, shares

OPTIONS = [{}, {"k": 1.5}]


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        for e in range(case.num_experts):
            w[i, e] = h[i, e] if h[i, e] > 0 else 0.0
    return w


def probs(case: Case) -> np.ndarray:
    """Weights divided by their sum; zeros if it is 0."""
    return shares(weights(case))
