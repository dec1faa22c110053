"""``s_ie = sigma(h_ie)`` counts above its expert's ``sigma(c)``: 2603.11535, equation 6."""

from typing import Any

import numpy as np
import torch

from ._case import Case, shares, sigmoid

OPTIONS = [{}, {"factor": 1.0}]


def prepare(router: Any, case: Case) -> None:
    """Thresholds as training might leave them."""
    drawn = np.random.default_rng(case.num_experts).uniform(-3, 3, case.num_experts)
    router.threshold.value.copy_(torch.from_numpy(drawn))
    router.threshold.steps.fill_(9)


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        for e in range(case.num_experts):
            s = sigmoid(h[i, e])
            if s > sigmoid(case.state["threshold.value"][e]):
                w[i, e] = s
    return w


def probs(case: Case) -> np.ndarray:
    """All scores as shares, whether they pass or not."""
    return shares(sigmoid(case.scores()))
