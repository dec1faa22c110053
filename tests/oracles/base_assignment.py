"""BASE layers, Lewis et al. 2021, 2103.16716: equations 1 to 3, weight ``sigmoid(x . c)``.

The best even assignment is found by trying all of them, item after item, with what is left of
each expert's places.
"""

import math
from functools import cache

import numpy as np

from ._case import Case, best, sigmoid, softmax_rows

EXPERTS = (3, 4)


def _assigned(h: np.ndarray) -> list[int]:
    """The expert of each item, such that the scores' sum is largest."""
    n, e = h.shape

    @cache
    def best_of(i: int, places: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        if i == n:
            return 0.0, ()
        found = []
        for expert in range(e):
            if places[expert]:
                left = list(places)
                left[expert] -= 1
                rest, whom = best_of(i + 1, tuple(left))
                found.append((h[i, expert] + rest, (expert, *whom)))
        return max(found)

    return list(best_of(0, (math.ceil(n / e),) * e)[1])


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for members in case.members:
        chosen = _assigned(h[members]) if case.training else [best(h[i], 1)[0] for i in members]
        for i, e in zip(members, chosen, strict=True):
            w[i, e] = sigmoid(h[i, e])
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
