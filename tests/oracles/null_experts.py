"""Top K over real and null experts, without the output of null ones: 2406.13233 and 2410.07348."""

from typing import Any

import numpy as np
import torch

from ._case import Case, best, softmax

OPTIONS = [{}, {"k": 1}, {"k": 5, "nulls": 2, "rule": "experts"}]


def prepare(router: Any, case: Case) -> None:
    drawn = np.random.default_rng(case.num_experts).normal(size=case.num_experts) * 0.3
    nulls = case.options["rule"] == "nulls"
    router.bias.value.copy_(torch.tensor(0.4) if nulls else torch.from_numpy(drawn))


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        biased = h[i].copy()
        of_real = slice(case.num_experts)
        of_null = slice(case.num_experts, None)
        which = {"nulls": of_null, "experts": of_real}[case.options["rule"]]
        biased[which] += case.state["bias.value"]
        chosen = best(biased, case.options["k"])
        share = softmax(h[i])[chosen]  # of all, real and null: MoE++ equation 2
        for e, part in zip(chosen, share, strict=True):
            if e < case.num_experts:
                w[i, e] = part
    return w


def probs(case: Case) -> np.ndarray:
    return np.array([softmax(row[: case.num_experts]) for row in case.scores()])
