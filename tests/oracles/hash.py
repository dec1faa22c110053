"""``e = table[id]``, weight 1: Roller et al. 2021, 2106.04426; learned weights of DeepSeek-V4.

The balanced table: most frequent ids first, each to the expert that has the least so far.
"""

from typing import Any

import numpy as np
import torch

from ._case import Case, shares, sigmoid, softplus

OPTIONS = [
    {"buckets": 7},
    {"table": "balanced", "buckets": 50, "k": 3, "weighting": "sqrt_softplus"},
    {"by": "previous", "buckets": 50},
    {"by": "bigram", "k": 2, "weighting": "sigmoid"},
    {"by": "position", "buckets": 9, "k": 2},
]
SCORES = {"sigmoid": sigmoid, "sqrt_softplus": lambda h: np.sqrt(softplus(h))}
#: How often each id is seen: no two alike, so that there is one order.
COUNTS = {number: 3 + (number * 37) % 50 for number in range(50)}


def prepare(router: Any, case: Case) -> None:
    seen = [number for number, count in COUNTS.items() for _ in range(count)]
    router.prepare(torch.tensor(seen), torch.zeros(len(seen), 1))


def _balanced(num_experts: int) -> dict[int, int]:
    table, filled = {}, [0] * num_experts
    for number in sorted(COUNTS, key=lambda each: -COUNTS[each]):
        table[number] = filled.index(min(filled))
        filled[table[number]] += COUNTS[number]
    return table


def _keys(case: Case) -> dict[int, int]:
    """What each item is looked up by; the first of a group has its own id before it."""
    keys = {}
    for members in case.members:
        for place, i in enumerate(members):
            own = int(case.ids[i])
            before = int(case.ids[members[max(place - 1, 0)]])
            mixed = (before * 2654435761) ^ own
            keys[i] = {
                "own": own,
                "previous": before,
                "bigram": mixed ^ (mixed >> 29),
                "position": place,
            }[case.options["by"]]
    return keys


def weights(case: Case) -> np.ndarray:
    w, k = case.nothing(), case.options["k"]
    table = case.state["table"].reshape(-1, k)
    first = _balanced(case.num_experts) if case.options["table"] == "balanced" else None
    for i, key in _keys(case).items():
        row = key % case.options["buckets"]
        chosen = [int(e) for e in table[row]]
        assert len(set(chosen)) == k
        assert first is None or chosen[0] == first[row]
        share = np.ones(k)
        if case.options["weighting"] != "uniform":
            h = case.state["gate.weight"] @ case.x[i]
            share = SCORES[case.options["weighting"]](h[chosen])
        w[i, chosen] = share / share.sum()
    return w


def probs(case: Case) -> np.ndarray:
    """The scores over their sum, or the weights where nothing is scored."""
    if case.options["weighting"] == "uniform":
        return weights(case)
    return shares(SCORES[case.options["weighting"]](case.scores()))
