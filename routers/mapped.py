"""Experts by a map that someone gave: nothing is learned."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import require_tasks
from .plugins import ConfigError, OptionError
from .routing import Items, Routing

#: For every task its expert, or the list of its experts.
TaskTable = Sequence[Sequence[int]] | Sequence[int]


def listed(table: TaskTable, num_experts: int) -> Tensor:
    """Which experts the table gives each of ``T`` tasks, ``(T, E)`` bool.

    >>> listed([[0], [1, 2]], num_experts=3).int().tolist()
    [[1, 0, 0], [0, 1, 1]]
    """
    rows = [[row] if isinstance(row, int) else list(row) for row in table]
    if not rows:
        raise OptionError("table", rows, "a row of experts for every task, or null")
    for row in rows:
        within = all(0 <= expert < num_experts for expert in row)
        if not row or not within or len(set(row)) < len(row):
            several = f"one or more different experts from 0 to {num_experts - 1} for every task"
            raise OptionError("table", row, several)
    found = torch.zeros(len(rows), num_experts, dtype=torch.bool)
    for task, experts in enumerate(rows):
        found[task, experts] = True
    return found


@ROUTERS.register("mapped")
class Mapped(Router):
    """A given map sends an item to the experts of its task, language or domain.

    ``y = mean_{e in table[task]} FFN_e(x)``: expert specialisation by hand, the measure of what
    learned routing finds by itself.

    Source: domain experts of DEMix, Gururangan et al. 2021, 2108.05036.

    Args:
        dim: ``D``, not used.
        num_experts: ``E``.
        table: for every task its expert, or the list of its experts, which share it evenly;
            None sends task ``t`` to expert ``t % E``.

    >>> import torch
    >>> router = Mapped(4, 3, table=[[0], [1, 2]])
    >>> routing = router(Items(torch.zeros(3, 4), task=torch.tensor([1, 0, 1])))
    >>> routing.load.tolist(), routing.weight.tolist()
    ([1, 2, 2], [1.0, 0.5, 0.5, 0.5, 0.5])
    """

    traits = Traits(learned=False, needs_task=True, has_logits=False)

    listed: Tensor

    def __init__(self, dim: int, num_experts: int, *, table: TaskTable | None = None) -> None:
        super().__init__(dim, num_experts)
        self.repeats = table is None
        given = range(num_experts) if table is None else table
        self.register_buffer("listed", listed(given, num_experts))

    def forward(self, items: Items) -> Routing:
        task = require_tasks(items, "mapped")
        row = task % len(self.listed) if self.repeats else task
        self._check_known(task, row)
        keep = self.listed[row]
        weight = keep.to(items.x.dtype) / keep.sum(-1, keepdim=True)
        return Routing.by_mask(items, weight, keep=keep, probs=weight)

    def _check_known(self, task: Tensor, row: Tensor) -> None:
        unknown = task[(task < 0) | (row >= len(self.listed))]
        if unknown.numel():
            known = "0 upwards" if self.repeats else f"0 to {len(self.listed) - 1}"
            raise ConfigError(
                f"router=mapped: an item is of task {unknown[0].item()}, but router.table knows "
                f"tasks {known}; give a row for every task, or router.table=null"
            )
