"""A given table from task to experts, with equal weights (DEMix, 2108.05036)."""

import numpy as np

from ._case import Case

OPTIONS = [{}, {"table": [1, 0, 3, 2]}, {"table": [[0, 2], [1], [5, 4, 3], [0]]}]


def weights(case: Case) -> np.ndarray:
    w, table = case.nothing(), case.options["table"]
    for i in case.items:
        row = case.task[i] % case.num_experts if table is None else table[case.task[i]]
        experts = row if isinstance(row, list) else [row]
        for e in experts:
            w[i, e] = 1 / len(experts)
    return w


probs = weights
