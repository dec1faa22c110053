"""2604.00801: each expert's own scaled activation above its own threshold."""

import numpy as np

from ._case import Case, shares

OPTIONS = [{}, {"threshold": 1.0}]


def _mass(case: Case) -> np.ndarray:
    w = case.nothing()
    for i, x in enumerate(case.x):
        for e, read in enumerate(case.projections):
            size = np.sqrt(np.mean((x @ read) ** 2))
            w[i, e] = max(case.state["scale"][e] * size - case.state["threshold"][e], 0)
    return w


def weights(case: Case) -> np.ndarray:
    return _mass(case) * case.real[:, None]


def probs(case: Case) -> np.ndarray:
    return shares(_mass(case))
