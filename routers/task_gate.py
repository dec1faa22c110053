"""Multi-gate routing by task: one gate per task over shared experts."""

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import check_k_above_one, holds, renormalized_weights, require_tasks, top_k
from .gates import ExpertRows, GateSpec
from .plugins import ConfigError, OptionError
from .routing import Items, Routing


@ROUTERS.register("task_gate")
class TaskGate(Router):
    """Each task has a separate gate over shared experts; an item uses the gate of its task.

    ``y = sum_e softmax(h^t)_e FFN_e(x)`` for an item of task ``t``; with ``k`` the softmax is over
    the ``k`` largest of ``h^t``.

    Source: MMoE, Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007), equations 6 and 7, where every
    item has all tasks; for that see ``experts.MultiGateMoE``.

    Args:
        tasks: number of tasks; items' tasks are in [0, tasks).
        k: experts per item, >= 2; None for all experts.
        gate: computes ``tasks * E`` scores; its hidden layers are shared.

    >>> router = TaskGate(4, 8, tasks=3, k=2)
    >>> router(Items(torch.randn(5, 4), task=torch.tensor([0, 2, 1, 1, 0]))).num_assignments
    10
    """

    traits = Traits(needs_task=True)
    search_space = {"k": [2, 4]}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        tasks: int = 2,
        k: int | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if tasks < 1:
            raise OptionError("tasks", tasks, "an integer >= 1")
        if k is not None:
            check_k_above_one(k, num_experts)
        self.tasks = tasks
        self.k = k or num_experts
        self.gate = self.build_gate(gate, tasks * num_experts)

    def expert_rows(self) -> list[ExpertRows]:
        rows = self.gate.rows()
        every = tuple(range(self.num_experts))
        return [] if rows is None else [ExpertRows(each, every) for each in rows.chunk(self.tasks)]

    def forward(self, items: Items) -> Routing:
        task = require_tasks(items, "task_gate")
        expected = f"expected a task in [0, tasks={self.tasks})"
        known = (task >= 0) & (task < self.tasks)
        if not holds(known.all(), f"router=task_gate: {expected}"):
            wrong = task[~known][0].item()
            raise ConfigError(f"router=task_gate: an item has task {wrong}: {expected}")
        every = self.gate(items).view(-1, self.tasks, self.num_experts)
        logits = every[torch.arange(items.num_items, device=task.device), task]
        if self.k == self.num_experts:
            return Routing.by_mask(items, logits.softmax(-1), logits=logits)
        expert = top_k(logits, self.k)
        weight = renormalized_weights(logits.gather(1, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
