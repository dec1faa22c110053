"""The top K of a gate with its initial parameters, softmax over the selected (2303.01610)."""

from typing import Any

import numpy as np

from ._case import Case, best, softmax, softmax_rows

OPTIONS = [{"k": 3}, {"k": 1}, {"k": 1, "growth": 4, "eval_k": 4}, {"growth": 2}]


def prepare(router: Any, case: Case) -> None:
    """Two steps: half of the way from one expert to all, and all of it."""
    for _ in range(2):
        router.adapt(np.zeros(case.num_experts))


def _k(case: Case) -> int:
    k, growth = case.options["k"], case.options["growth"]
    half = k + round((case.num_experts - k) / 2)  # a half to the even number, as the code has it
    grown = {0: k, 4: half, 2: case.num_experts}[growth]
    full = case.num_experts if growth else k
    return grown if case.training else case.options["eval_k"] or full


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        chosen = best(h[i], _k(case))
        w[i, chosen] = softmax(h[i][chosen])
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
