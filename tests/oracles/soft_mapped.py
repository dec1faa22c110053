"""Weight 1 for a task's experts, less for others, over the sum: SpecDrop, 2608.04084.

A warm-up changes equal weights into these by half a cosine.
"""

import math

import numpy as np

from ._case import Case

OPTIONS = [
    {},
    {"table": [1, 0, 3, 2], "inactive": 0.5},
    {"table": [[0, 2], [1], [5, 4, 3], [0]], "warmup": 5},
]
STEPS = 2


def prepare(router, case: Case) -> None:
    router.steps += STEPS


def weights(case: Case) -> np.ndarray:
    w, table, n = case.nothing(), case.options["table"], case.num_experts
    done = min((STEPS + 1) / (case.options["warmup"] + 1), 1)
    progress = (1 - math.cos(math.pi * done)) / 2
    for i in case.items:
        row = case.task[i] % n if table is None else table[case.task[i]]
        own = row if isinstance(row, list) else [row]
        mass = [1.0 if e in own else case.options["inactive"] for e in range(n)]
        for e in range(n):
            w[i, e] = progress * mass[e] / sum(mass) + (1 - progress) / n
    return w


probs = weights
