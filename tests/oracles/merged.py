"""Experts' parameters averaged by the gate of a mean: SMEAR, 2306.03745, equation 2."""

import numpy as np

from ._case import Case, softmax

OPTIONS = [{}, {"over": "item"}, {"over": "segment", "segment": 3}]


def weights(case: Case) -> np.ndarray:
    w, gate = case.nothing(), case.state["gate.weight"]
    if case.options["over"] == "segment":
        return _by_segments(case, gate)
    parts = case.members if case.options["over"] == "group" else [[i] for i in case.items]
    for part in parts:
        for i in part:
            w[i] = softmax(gate @ (sum(case.x[j] for j in part) / len(part)))
    return w


def _by_segments(case: Case, gate: np.ndarray) -> np.ndarray:
    """The mean of a segment gives the weights of the next: Lory, 2405.03133; even ones at first."""
    w, length = case.nothing(), len(case.x) // case.groups
    for i in case.items:
        place, segment = i % length, case.options["segment"]
        stop = i - place % segment
        before = [
            j for j in case.items if stop - segment <= j < stop and j // length == i // length
        ]
        mean = sum(case.x[j] for j in before) / max(len(before), 1) + np.zeros(case.x.shape[1])
        w[i] = softmax(gate @ mean)
    return w


probs = weights
