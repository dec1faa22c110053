"""StableMoE, Dai et al. 2022, 2204.08396: its two stages, with the weight of both."""

from typing import Any

import numpy as np
import torch

from ._case import Case, best, sigmoid, softmax_rows

OPTIONS = [{"buckets": 20}, {"learn_steps": 2, "width": 3}]


def prepare(router: Any, case: Case) -> None:
    """Two steps, after which the vectors of the second stage no longer count."""
    for _ in range(2):
        router.adapt(torch.zeros(case.num_experts))
    if case.options["learn_steps"] == 2:
        with torch.no_grad():
            router.words.neg_()


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        row = int(case.ids[i]) % case.options["buckets"]
        by_id = case.state["centroids"] @ case.state["words"][row]
        if case.options["learn_steps"] == 2:
            [e] = best(-by_id, 1)
        else:
            [e] = best(h[i] if case.training else by_id, 1)
        w[i, e] = sigmoid(h[i, e])
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
