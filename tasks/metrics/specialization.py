"""Specialization: the spread of an expert's rows over kinds of samples, and over tasks."""

import torch
from torch import Tensor
from torchmetrics import Metric

from routers import Routing
from routers.routing import Merge, Slots


class ExpertTable(Metric):
    """Sums tables ``(E, columns)`` with a row for each expert and a column for each kind."""

    full_state_update = False
    table: Tensor

    def __init__(self, num_experts: int, columns: int) -> None:
        super().__init__()
        zeros = torch.zeros(num_experts, columns, dtype=torch.float64)
        self.add_state("table", zeros, dist_reduce_fx="sum")

    def update(self, table: Tensor) -> None:
        """Add ``(E, columns)``."""
        self.table += table

    def compute(self) -> Tensor:
        """The sum of all tables since the last reset, float64."""
        return self.table


@torch.no_grad()
def rows_by_kind(routing: Routing, kind: Tensor, num_kinds: int) -> Tensor:
    """Rows of each expert that come from each kind, ``(E, kinds)`` float64.

    ``kind`` is int64, of each of ``N`` items, or of each of ``B`` samples of ``N / B`` items in a
    row. A slot of a blend is a weighted mean of items, so it counts in parts; a merged expert's
    rows count for each expert by its weight.

    >>> from routers import Items
    >>> routing = Routing.by_item(
    ...     Items(torch.zeros(3, 1)), torch.tensor([[0], [1], [1]]), torch.ones(3, 1), 2
    ... )
    >>> rows_by_kind(routing, torch.tensor([0, 1, 0]), 2).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    kind = kind.flatten().repeat_interleave(routing.num_items // kind.numel())
    if isinstance(routing.execution, Slots):
        dispatch = routing.execution.dispatch.double().flatten(0, 1)  # (N, S), slots by expert
        by_expert = dispatch.view(len(dispatch), routing.num_experts, -1).sum(-1)
        return by_expert.new_zeros(num_kinds, routing.num_experts).index_add(0, kind, by_expert).t()
    cell = routing.expert * num_kinds + kind[routing.item]
    parts = None  # all weigh 1
    if isinstance(routing.execution, Merge):
        parts = routing.mass.double()
    counts = torch.bincount(cell, parts, minlength=routing.num_experts * num_kinds)
    return counts.view(routing.num_experts, num_kinds).double()


@torch.no_grad()
def mass_by_task(routing: Routing) -> Tensor:
    """Weight that each task's gate gives to each expert, ``(E, T)`` float64.

    >>> from routers import Items
    >>> weight = torch.tensor([[[0.75, 0.0]], [[0.25, 1.0]]])
    >>> routing = Routing.by_item(Items(torch.zeros(2, 1)), torch.tensor([[0], [1]]), weight, 2)
    >>> mass_by_task(routing).tolist()
    [[0.75, 0.0], [0.25, 1.0]]
    """
    if isinstance(routing.execution, Slots):
        combine = routing.execution.combine.double()  # (T, G, L, S), slots by expert
        of_slots = combine.sum((1, 2))
        return of_slots.view(len(of_slots), routing.num_experts, -1).sum(-1).t()
    weight = routing.weight.double()
    table = weight.new_zeros(routing.num_experts, weight.shape[1])
    return table.index_add(0, routing.expert, weight)
