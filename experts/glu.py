"""Gated feed-forward networks: one linear map scales another."""

from collections.abc import Sequence

from torch import Tensor

from routers import Routing

from ._bank import EXPERTS, Bank, check_dropout, check_hidden, stacked
from .kernels.activations import SWIGLU
from .kernels.feed_forward import feed_forward, mix_feed_forward
from .kernels.layouts import sorted_layout


@EXPERTS.register("glu")
class GLU(Bank):
    """A feed-forward network with a gate, the SwiGLU.

    ``FFN_e(x) = (silu(x G_e) * x V_e) W_e``, without biases. Three matrices: at two thirds of
    the ``hidden`` of an ``mlp`` it has the same cost.

    Source: Shazeer 2020, 2002.05202, equation 6.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        hidden: ``H``, the hidden width; ``4 * dim`` if None.
        dropout: probability of zeroing a hidden activation in training.

    >>> GLU(4, 2, hidden=8).flops((4,))  # 2 * 4 * 8 for each of three matrices
    (192, 192)
    """

    expert_parameters = ("gate_and_up", "down")

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 4 * dim)
        self.dropout = check_dropout(dropout)
        self.gate_and_up = stacked(num_experts, dim, 2 * self.hidden)
        self.down = stacked(num_experts, self.hidden, dim)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return feed_forward(rows, sorted_layout(load), self.gate_and_up, self.down, SWIGLU, dropout)

    def mix(self, x: Tensor, routing: Routing, mask: Tensor | None = None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return mix_feed_forward(x, routing, self.gate_and_up, self.down, SWIGLU, dropout)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (6 * self.dim * self.hidden,) * self.num_experts
