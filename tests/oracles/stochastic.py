"""K experts by lot, equally: THOR, Zuo et al. 2021, 2110.04260, section 3.

The lots are numbers in [0, 1) for every expert, of which the K largest win. In evaluation the i-th
real item of a group has the i-th row of lots.
"""

import numpy as np

from ._case import Case, best

OPTIONS = [{}, {"k": 3}]


def weights(case: Case) -> np.ndarray:
    w, k, lots = case.nothing(), case.options["k"], case.draws[0]
    for members in case.members:
        for place, i in enumerate(members):
            for e in best(lots[i if case.training else place], k):
                w[i, e] = 1 / k
    return w


probs = weights
