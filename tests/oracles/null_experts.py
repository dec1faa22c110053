"""Top K over real and null experts, without the output of null ones: 2406.13233 and 2410.07348."""

from typing import Any

import numpy as np

from ._case import Case, best, softmax

OPTIONS = [{}, {"k": 1}, {"k": 5, "nulls": 2}]


def prepare(router: Any, case: Case) -> None:
    router.bias.value.fill_(0.4)


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        biased = h[i].copy()
        biased[case.num_experts :] += case.state["bias.value"]
        chosen = best(biased, case.options["k"])
        share = softmax(h[i])[chosen]  # of all, real and null: MoE++ equation 2
        for e, part in zip(chosen, share, strict=True):
            if e < case.num_experts:
                w[i, e] = part
    return w


def probs(case: Case) -> np.ndarray:
    return np.array([softmax(row[: case.num_experts]) for row in case.scores()])
