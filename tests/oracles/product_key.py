"""Lample et al. 2019, 1907.05242, equations 1 to 3, by scoring every one of the experts.

Expert ``i b + j`` has the key ``(r_i, c_j)``. A layer norm of the query stands for the paper's
batch norm.
"""

import numpy as np

from ._case import Case, best, softmax

OPTIONS = [{}, {"k": 3, "heads": 2}, {"k": 4, "width": 6}]
EXPERTS = (12, 25)


def _scores(case: Case, i: int, head: int) -> tuple[np.ndarray, np.ndarray]:
    q = case.state["query"][head] @ case.x[i]
    q = (q - q.mean()) / np.sqrt(q.var() + 1e-5)
    half = len(q) // 2
    return case.state["row_key"][head] @ q[:half], case.state["column_key"][head] @ q[half:]


def weights(case: Case) -> np.ndarray:
    w = case.nothing()
    for i in case.items:
        for head in range(case.options["heads"]):
            rows, columns = _scores(case, i, head)
            every = np.array([r + c for r in rows for c in columns])
            chosen = best(every, case.options["k"])
            w[i, chosen] += softmax(every[chosen])
    return w


def probs(case: Case) -> np.ndarray:
    """Softmax over the sums of the best rows and columns; heads share evenly."""
    p, k, heads = case.nothing(), case.options["k"], case.options["heads"]
    for i in range(len(case.x)):
        for head in range(heads):
            rows, columns = _scores(case, i, head)
            near = [(r, c) for r in best(rows, k) for c in best(columns, k)]
            share = softmax(np.array([rows[r] + columns[c] for r, c in near]))
            for (r, c), part in zip(near, share, strict=True):
                p[i, r * len(columns) + c] += part / heads
    return p
