"""K random experts with equal weights: THOR, Zuo et al. 2021, 2110.04260, section 3.

The lots are numbers in [0, 1) for every expert, of which the K largest win. In evaluation rows of
lots order the experts, one row after the other: the i-th real item of a group has the i-th expert
of them all, and those that follow in its row.
"""

import numpy as np

from ._case import Case, best

OPTIONS = [{}, {"k": 3}]


def weights(case: Case) -> np.ndarray:
    w, k, lots, e = case.nothing(), case.options["k"], case.draws[0], case.num_experts
    for members in case.members:
        for place, i in enumerate(members):
            row = best(-lots[place // e], e)
            turns = [row[(place + j) % e] for j in range(k)]
            for expert in best(lots[i], k) if case.training else turns:
                w[i, expert] = 1 / k
    return w


probs = weights
