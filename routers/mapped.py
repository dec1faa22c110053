"""Routing by a given map from tasks to experts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import holds, require_tasks
from .plugins import ConfigError, OptionError
from .routing import Items, Routing

#: For each task its expert, or the list of its experts.
TaskTable = Sequence[Sequence[int]] | Sequence[int]


def expert_mask(table: TaskTable, num_experts: int) -> Tensor:
    """Mask of the experts of each of ``T`` tasks, ``(T, E)`` bool.

    >>> expert_mask([[0], [1, 2]], num_experts=3).int().tolist()
    [[1, 0, 0], [0, 1, 1]]
    """
    rows = [[row] if isinstance(row, int) else list(row) for row in table]
    if not rows:
        raise OptionError("table", rows, "a list of experts for each task, or null")
    for row in rows:
        within = all(0 <= expert < num_experts for expert in row)
        if not row or not within or len(set(row)) < len(row):
            expected = f"one or more distinct experts in [0, {num_experts}) for each task"
            raise OptionError("table", row, expected)
    found = torch.zeros(len(rows), num_experts, dtype=torch.bool)
    for task, experts in enumerate(rows):
        found[task, experts] = True
    return found


@ROUTERS.register("mapped")
class Mapped(Router):
    """A given map assigns each item to the experts of its task, language or domain.

    ``y = mean_{e in table[task]} FFN_e(x)``: manual specialization, a reference for
    the specialization that learned routing finds.

    Source: domain experts of DEMix, Gururangan et al. 2021, 2108.05036.

    Args:
        dim: ``D``, unused.
        table: for each task its expert, or the list of its experts with equal weights; None
            assigns task ``t`` to expert ``t % E``.

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
        self._repeats = table is None  # private, as ``listed`` stays if a table is set later
        given = range(num_experts) if table is None else table
        self.register_buffer("listed", expert_mask(given, num_experts))

    def forward(self, items: Items) -> Routing:
        keep = self.experts_of(items, "mapped")
        weight = keep.to(items.x.dtype) / keep.sum(-1, keepdim=True)
        return Routing.by_mask(items, weight, keep=keep, probs=weight)

    def experts_of(self, items: Items, router: str) -> Tensor:
        """Mask of the experts of each item's task, ``(N, E)``; ``ConfigError`` for unknown ones."""
        task = require_tasks(items, router)
        row = task % len(self.listed) if self._repeats else task
        known = (task >= 0) & (row < len(self.listed))
        listed = ">= 0" if self._repeats else f"in [0, {len(self.listed)})"
        if not holds(known.all(), f"router={router}: router.table has tasks {listed}"):
            raise ConfigError(
                f"router={router}: an item has task {task[~known][0].item()}, but router.table has "
                f"tasks {listed}; add a row for each task, or set router.table=null"
            )
        return self.listed[row]
