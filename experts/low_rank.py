"""One shared dense network with a low-rank change per expert."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError

from ._bank import EXPERTS, Bank, check_hidden, stacked
from .kernels.grouped import grouped_linear


@EXPERTS.register("low_rank")
class LowRank(Bank):
    """One feed-forward network shared by all experts, plus a low-rank change per expert.

    ``FFN_e(x) = gelu(x (V + A_e B_e)) (W + C_e D_e)`` with shared ``V`` and ``W``. Each expert has
    ``2 r (D + H)`` parameters instead of ``2 D H``.

    Source: Hu et al. 2021, 2106.09685, equation 3, for the low-rank change; as experts in
    Zadouri et al. 2023, 2309.05444, where the dense network is pretrained and
    frozen. Here it is trained too, and ``B`` and ``D`` start small but not at zero, so that
    experts differ from the first step.

    Args:
        hidden: ``H``, the hidden width; ``4 * dim`` if None.
        rank: ``r``, of each expert's change to each matrix.

    >>> bank = LowRank(4, 2, hidden=8, rank=1)
    >>> bank.parameters_per_expert(), sum(p.numel() for p in bank.parameters())
    ((24, 24), 112)
    """

    expert_parameters = ("up.narrow", "up.widen", "down.narrow", "down.widen")

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, rank: int = 8
    ) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 4 * dim)
        if rank < 1:
            raise OptionError("rank", rank, "an integer >= 1")
        self.rank = rank
        self.up = SharedPlusOwn(num_experts, dim, self.hidden, rank)
        self.down = SharedPlusOwn(num_experts, self.hidden, dim, rank)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(rows, load)), load)
        return out

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        shared = 4 * self.dim * self.hidden
        own = 4 * self.rank * (self.dim + self.hidden)
        return (shared + own,) * self.num_experts

    def parameters_per_expert(self) -> tuple[int, ...]:
        return (2 * self.rank * (self.dim + self.hidden),) * self.num_experts


class SharedPlusOwn(nn.Module):
    """``x (W + A_e B_e)``: ``W`` in one product for all rows, the rest by expert."""

    def __init__(self, num_experts: int, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.shared = nn.Linear(inputs, outputs, bias=False)
        self.narrow = stacked(num_experts, inputs, rank)
        self.widen = nn.Parameter(torch.randn(num_experts, rank, outputs) * 0.1 * rank**-0.5)

    def forward(self, rows: Tensor, load: Tensor) -> Tensor:
        own: Tensor = grouped_linear(grouped_linear(rows, self.narrow, load), self.widen, load)
        return self.shared(rows) + own
