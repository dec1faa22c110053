"""The point of the simplex nearest to ``h / T``: Martins and Astudillo 2016, equation 2.

Found by trying every set of experts as its support: within one the nearest point moves all scores
by the same amount; of those that are in the simplex the nearest is taken.
"""

from itertools import combinations

import numpy as np

from ._case import Case

OPTIONS = [{}, {"temperature": 0.4}, {"temperature": 6.0}]
EXPERTS = (5, 6)


def _nearest(h: np.ndarray) -> np.ndarray:
    found, least = None, np.inf
    for size in range(1, len(h) + 1):
        for support in map(list, combinations(range(len(h)), size)):
            p = np.zeros(len(h))
            p[support] = h[support] + (1 - h[support].sum()) / size
            distance = ((p - h) ** 2).sum()
            if (p >= 0).all() and distance < least:
                found, least = p, distance
    assert found is not None
    return found


def weights(case: Case) -> np.ndarray:
    w, h = case.nothing(), case.scores()
    for i in case.items:
        w[i] = _nearest(h[i] / case.options["temperature"])
    return w


probs = weights
