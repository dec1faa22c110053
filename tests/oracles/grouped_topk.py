"""``sigmoid`` within the groups with the largest sum of two scores: DeepSeek-V3, section 2.1.2."""

from typing import Any

import numpy as np
import torch

from ._case import Case, best, shares, sigmoid

OPTIONS = [{}, {"k": 3, "expert_groups": 2, "kept_groups": 1}, {"expert_groups": 4, "scale": 2.0}]
EXPERTS = (8, 12)


def prepare(router: Any, case: Case) -> None:
    drawn = np.random.default_rng(case.num_experts).normal(size=case.num_experts) * 0.3
    router.bias.value.copy_(torch.from_numpy(drawn))


def weights(case: Case) -> np.ndarray:
    w, h, b = case.nothing(), case.scores(), case.state["bias.value"]
    groups = case.options["expert_groups"]
    size = case.num_experts // groups
    for i in case.items:
        s = sigmoid(h[i])
        biased = s + b
        worth = [sum(sorted(biased[g * size : (g + 1) * size])[-2:]) for g in range(groups)]
        kept = best(np.array(worth), case.options["kept_groups"])
        open_to = [e for e in range(case.num_experts) if e // size in kept]
        chosen = sorted(open_to, key=lambda e: -biased[e])[: case.options["k"]]
        total = sum(s[e] for e in chosen) if case.options["weighting"] == "renormalized" else 1
        for e in chosen:
            w[i, e] = case.options["scale"] * s[e] / total
    return w


def probs(case: Case) -> np.ndarray:
    return shares(sigmoid(case.scores()))
