"""Gated feed-forward networks that scale their own output."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._bank import EXPERTS, stacked
from .glu import GLU
from .kernels.grouped import grouped_linear


@EXPERTS.register("self_gated_glu")
class SelfGatedGLU(GLU):
    """A SwiGLU that scales its output by a sigmoid of its input.

    ``FFN_e(x) = sigma(x s_e) (silu(x G_e) * x V_e) W_e``, without biases. As ``shared`` of a layer
    with one expert it is the shared expert of Qwen2-MoE; the arguments are those of ``glu``.

    Source: ``Qwen2MoeSparseMoeBlock`` of transformers (``shared_expert_gate``).

    >>> SelfGatedGLU(4, 2, hidden=8).flops((4,))  # 192 as a glu, and 2 * 4
    (200, 200)
    """

    expert_parameters = ("gate_and_up", "down", "scale")

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, num_experts, hidden=hidden, dropout=dropout)
        self.scale = stacked(num_experts, dim, 1)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        out = super().forward(rows, load, mask)
        return grouped_linear(rows, self.scale, load).sigmoid() * out

    def run_even(self, rows: Tensor, stacks: Sequence[Tensor]) -> Tensor:
        *matrices, scale = stacks
        return torch.bmm(rows, scale).sigmoid() * super().run_even(rows, matrices)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(each + 2 * self.dim for each in super().flops(row_shape))
