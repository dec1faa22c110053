"""Gated feed-forward networks whose gate matrix is a product of two thin ones."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError

from ._bank import EXPERTS, Bank, check_hidden, stacked
from .kernels.grouped import grouped_linear


@EXPERTS.register("factorized")
class Factorized(Bank):
    """A feed-forward network with a gate of low rank, which scores items cheaply.

    ``FFN_e(x) = (silu(x A_e B_e) * x V_e) W_e`` with ``A_e`` ``(D, r)``, without biases. Routers
    such as ``autonomous`` score an item for every expert by ``x A_e``; the expert computes it
    again.

    Source: Autonomy-of-Experts, Lv et al. 2025, 2501.13074.

    Args:
        hidden: ``H``, the hidden width; ``4 * dim`` if None.
        rank: ``r``; a quarter of ``dim`` if None.

    >>> bank = Factorized(8, 2, hidden=4, rank=1)
    >>> bank.flops((8,))  # 2 (8 + 4) for the thin matrices, 2 * 8 * 4 for each of the two others
    (152, 152)
    """

    expert_parameters = ("narrow", "widen", "up", "down")

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, rank: int | None = None
    ) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 4 * dim)
        self.rank = max(1, dim // 4) if rank is None else rank
        if self.rank < 1:
            raise OptionError("rank", rank, f"an integer >= 1, or null for {max(1, dim // 4)}")
        self.narrow = stacked(num_experts, dim, self.rank)
        self.widen = stacked(num_experts, self.rank, self.hidden)
        self.up = stacked(num_experts, dim, self.hidden)
        self.down = stacked(num_experts, self.hidden, dim)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        gate = grouped_linear(grouped_linear(rows, self.narrow, load), self.widen, load)
        inner = F.silu(gate) * grouped_linear(rows, self.up, load)
        out: Tensor = grouped_linear(inner, self.down, load)
        return out

    def projections(self) -> Tensor:
        """The first of the thin matrices, ``(E, D, r)``."""
        return self.narrow

    def run_even(self, rows: Tensor, stacks: Sequence[Tensor]) -> Tensor:
        narrow, widen, up, down = stacks
        gate = torch.bmm(torch.bmm(rows, narrow), widen)
        return torch.bmm(F.silu(gate) * torch.bmm(rows, up), down)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        thin = 2 * self.rank * (self.dim + self.hidden)
        return (thin + 4 * self.dim * self.hidden,) * self.num_experts
