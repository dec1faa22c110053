"""A set of K experts from ``P(S) = prod exp(h) / Z`` over all such sets: ProbMoE, 2606.01509.

Sets are listed one by one. A size is drawn first, then whether each expert is in, the last first.
"""

from itertools import combinations

import numpy as np

from ._case import Case, best, softmax_rows

OPTIONS = [{}, {"k": 3}, {"k": 3, "least": 1}]


def _likeliest(sets: list[tuple[int, ...]], h: np.ndarray) -> tuple[int, ...]:
    return max(sets, key=lambda s: sum(h[list(s)]))


def weights(case: Case) -> np.ndarray:
    w, h, k = case.nothing(), case.scores(), case.options["k"]
    sizes = range(case.options["least"] or k, k + 1)
    for i in case.items:
        sets = [s for size in sizes for s in combinations(range(case.num_experts), size)]
        power = {s: np.exp(sum(h[i, list(s)])) for s in sets}
        drawn = _likeliest(sets, h[i])
        if case.training:
            mass = np.array([sum(power[s] for s in sets if len(s) == size) for size in sizes])
            size = sizes[best(mass / mass.sum() / case.draws[0][i], 1)[0]]
            left = [s for s in sets if len(s) == size]
            for e in reversed(range(case.num_experts)):
                inside = [s for s in left if e in s]
                chance = sum(power[s] for s in inside) / sum(power[s] for s in left)
                wanted = case.draws[1][i, e] < chance
                left = [s for s in left if (e in s) == wanted]
            [drawn] = left
        for e in drawn:
            w[i, e] = np.exp(h[i, e]) / sum(np.exp(h[i]))
    return w


def probs(case: Case) -> np.ndarray:
    return softmax_rows(case, case.scores())
