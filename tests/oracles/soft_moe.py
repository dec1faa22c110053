"""Puigcerver et al. 2023, 2308.00951, algorithm 1 with the normalisation of its section 2.3."""

import numpy as np

from ._case import Case, softmax

OPTIONS = [{}, {"slots": 1, "combine": "uniform"}, {"slots": 3, "dispatch": "uniform"}]


def _logits(case: Case) -> np.ndarray:
    """``norm(X) (s norm(Phi))``, ``(N, S)``."""
    phi = case.state["gate.centroid"]
    phi = phi / np.sqrt((phi**2).sum(1, keepdims=True))
    x = case.x / np.sqrt((case.x**2).sum(1, keepdims=True))
    return np.exp(-case.state["gate.log_temperature"]) * (x @ phi.T)


def blend(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Dispatch and combine ``(G, L, S)``."""
    h = _logits(case)
    halves = {"soft": softmax, "uniform": lambda v: np.full(len(v), 1 / len(v))}
    into, out = (halves[case.options[half]] for half in ("dispatch", "combine"))
    dispatch, combine = np.zeros_like(h), np.zeros_like(h)
    for members in case.members:
        for slot in range(h.shape[1]):
            if members:
                dispatch[members, slot] = into(h[members, slot])
        for i in members:
            combine[i] = out(h[i])
    shape = (case.groups, len(case.x) // case.groups, h.shape[1])
    return dispatch.reshape(shape), combine.reshape(shape)


def probs(case: Case) -> np.ndarray:
    _, combine = blend(case)
    return combine.reshape(len(case.x), case.num_experts, -1).sum(-1)
