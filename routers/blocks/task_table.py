"""A map from tasks to experts, as a user writes it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..plugins.errors import bad_value

#: For every task its expert, or the list of its experts.
TaskTable = Sequence[Sequence[int]] | Sequence[int]


def listed(table: TaskTable, num_experts: int) -> Tensor:
    """Which experts the table gives each of ``T`` tasks, ``(T, E)`` bool.

    >>> listed([[0], [1, 2]], num_experts=3).int().tolist()
    [[1, 0, 0], [0, 1, 1]]
    """
    rows = [[row] if isinstance(row, int) else list(row) for row in table]
    if not rows:
        raise bad_value("router.table", rows, "a row of experts for every task, or null")
    for row in rows:
        within = all(0 <= expert < num_experts for expert in row)
        if not row or not within or len(set(row)) < len(row):
            several = f"one or more different experts from 0 to {num_experts - 1} for every task"
            raise bad_value("router.table", row, several)
    found = torch.zeros(len(rows), num_experts, dtype=torch.bool)
    for task, experts in enumerate(rows):
        found[task, experts] = True
    return found
