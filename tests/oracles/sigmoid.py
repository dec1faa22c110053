"""``S = topk(sigma(h) + b)``, weights ``sigma(h)[S]`` over their sum: DeepSeek-V3, eq. 12 to 16.

DeepSeek-V4 has the square root of a softplus in place of the sigmoid.
"""

from typing import Any

import numpy as np
import torch

from ._case import Case, best, shares, sigmoid, softplus

OPTIONS = [
    {},
    {"k": 3, "scale": 2.5},
    {"k": 1, "weighting": "probability"},
    {"score": "sqrt_softplus", "bias_to": "logits"},
    {"score": "sqrt_softplus", "weighting": "probability"},
]
SCORES = {"sigmoid": sigmoid, "sqrt_softplus": lambda h: np.sqrt(softplus(h))}


def prepare(router: Any, case: Case) -> None:
    """A bias that changes choices."""
    drawn = np.random.default_rng(case.num_experts).normal(size=case.num_experts) * 0.3
    router.bias.value.copy_(torch.from_numpy(drawn))


def weights(case: Case) -> np.ndarray:
    w, h, b = case.nothing(), case.scores(), case.state["bias.value"]
    for i in case.items:
        s = SCORES[case.options["score"]](h[i])
        biased = {"score": s, "logits": h[i]}[case.options["bias_to"]] + b
        chosen = best(biased, case.options["k"])
        total = sum(s[e] for e in chosen) if case.options["weighting"] == "renormalized" else 1
        for e in chosen:
            w[i, e] = case.options["scale"] * s[e] / total
    return w


def probs(case: Case) -> np.ndarray:
    """``s'`` of equation 19: affinities over their sum."""
    return shares(SCORES[case.options["score"]](case.scores()))
