"""``e = table[id]``, weight 1: Roller et al. 2021, 2106.04426.

The balanced table: most frequent ids first, each to the expert that has the least so far.
"""

from typing import Any

import numpy as np
import torch

from ._case import Case

OPTIONS = [{}, {"buckets": 7}, {"table": "balanced", "buckets": 50}]
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


def weights(case: Case) -> np.ndarray:
    w = case.nothing()
    drawn = {number: int(e) for number, e in enumerate(case.state["table"])}
    table = _balanced(case.num_experts) if case.options["table"] == "balanced" else drawn
    for i in case.items:
        w[i, table[int(case.ids[i]) % case.options["buckets"]]] = 1
    return w


probs = weights
