"""Shazeer et al. 2017, appendix B, equations 12 to 14, 1701.06538."""

import math

import numpy as np

from ._case import Case, best, softmax, softplus

OPTIONS = [
    {},
    {"primary_k": 2, "k": 2, "weighting": "renormalized", "branches": 3},
    {"primary_k": 1, "k": 2, "branches": 2},
]
EXPERTS = (6, 12)
FLOOR = 0.01


def _branches(case: Case) -> int:
    """The least divisor of ``E`` that is not below its root, unless it is given."""
    e = case.num_experts
    return case.options["branches"] or next(b for b in range(1, e + 1) if e % b == 0 and b * b >= e)


def _level(case: Case, name: str, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    clean = case.scores(f"{name}.gate.weight")
    std = softplus(case.x @ case.state[f"{name}.spread"].T) + FLOOR
    return clean, clean + case.draws[draw] * std if case.training else clean, std


def _gate(h: np.ndarray, k: int, renormalize: bool) -> np.ndarray:
    p = softmax(h)
    kept = np.zeros(len(h))
    for e in best(h, k):
        kept[e] = p[e]
    return kept / kept.sum() if renormalize else kept


def weights(case: Case) -> np.ndarray:
    w, b = case.nothing(), _branches(case)
    size = case.num_experts // b
    _, first, _ = _level(case, "primary", 0)
    _, second, _ = _level(case, "secondary", 1)
    renormalize = case.options["weighting"] == "renormalized"
    for i in case.items:
        outer = _gate(first[i], case.options["primary_k"], renormalize)
        for branch in range(b):
            of = slice(branch * size, (branch + 1) * size)
            inner = _gate(second[i, of], case.options["k"], renormalize)
            w[i, of] = outer[branch] * inner
    return w


def probs(case: Case) -> np.ndarray:
    p, b = case.nothing(), _branches(case)
    size = case.num_experts // b
    _, first, _ = _level(case, "primary", 0)
    _, second, _ = _level(case, "secondary", 1)
    for i in range(len(case.x)):
        for branch in range(b):
            of = slice(branch * size, (branch + 1) * size)
            p[i, of] = softmax(first[i])[branch] * softmax(second[i, of])
    return p


def _chance(clean: np.ndarray, noisy: np.ndarray, std: np.ndarray, k: int, e: int) -> float:
    others = sorted((noisy[j] for j in range(len(noisy)) if j != e), reverse=True)
    if k > len(others):
        return 1.0
    return 0.5 * math.erfc(-(clean[e] - others[k - 1]) / std[e] / math.sqrt(2))


def expected_load(case: Case) -> np.ndarray:
    b = _branches(case)
    size = case.num_experts // b
    first, second = _level(case, "primary", 0), _level(case, "secondary", 1)
    load = np.zeros(case.num_experts)
    for branch in range(b):
        primary = sum(
            _chance(*(s[i] for s in first), case.options["primary_k"], branch) for i in case.items
        )
        sent = [i for i in case.items if branch in best(first[1][i], case.options["primary_k"])]
        of = slice(branch * size, (branch + 1) * size)
        for j in range(size):
            inner = sum(_chance(*(s[i, of] for s in second), case.options["k"], j) for i in sent)
            load[branch * size + j] = primary * inner / max(len(sent), 1)
    return load
