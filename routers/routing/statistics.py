"""Sums and counts behind the statistics of a routing."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sum_by_index(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums of ``values`` ``(A,)`` by ``index`` ``(A,)``, ``(size,)``."""
    return values.new_zeros(size).index_add(0, index, values)


def first_occurrence(values: Tensor) -> Tensor:
    """Whether each entry of ``(N, S)`` is the first of its value in its row, bool.

    >>> first_occurrence(torch.tensor([[3, 1, 3]])).tolist()
    [[True, True, False]]
    """
    values, order = values.sort(dim=-1, stable=True)
    new = F.pad(values.diff(dim=-1) > 0, (1, 0), value=True)
    return torch.empty_like(new).scatter(1, order, new)


@torch.no_grad()
def whole_rows(mass: Tensor, total: Tensor) -> Tensor:
    """Split ``total`` rows in proportion to ``mass`` ``(E,)`` by largest remainder, int64.

    >>> whole_rows(torch.tensor([3.0, 1.8, 1.2]), torch.tensor(6)).tolist()
    [3, 2, 1]
    """
    exact = mass.double() / mass.double().sum().clamp_min(torch.finfo(mass.dtype).tiny) * total
    whole = exact.floor()
    rank = (whole - exact).argsort(stable=True).argsort()
    return (whole + (rank < total - whole.sum())).long()
