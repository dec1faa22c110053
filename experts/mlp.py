"""Feed-forward networks with a GELU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from routers import Routing

from ._bank import EXPERTS, Bank, check_dropout, check_hidden, stacked
from .kernels.activations import GELU, Activation
from .kernels.feed_forward import feed_forward, mix_feed_forward
from .kernels.layouts import sorted_layout


@EXPERTS.register("mlp")
class MLP(Bank):
    """A feed-forward network with one hidden layer.

    ``FFN_e(x) = gelu(x V_e) W_e`` with the exact (erf) GELU, without biases.

    Source: the experts of Shazeer et al. 2017, 1701.06538; ``dropout`` is the
    expert dropout of Switch, 2101.03961.

    Args:
        hidden: ``H``, the hidden width; ``4 * dim`` if None.
        dropout: probability of zeroing a hidden activation in training.

    >>> MLP(4, 2, hidden=8).flops((4,))  # 2 * 4 * 8 for each of two matrices
    (128, 128)
    """

    expert_parameters = ("up", "down")
    activation = GELU
    num_inputs = 1  # of the activation, each of width ``H``

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 4 * dim)
        self.dropout = check_dropout(dropout)
        enter, leave = self.expert_parameters
        setattr(self, enter, stacked(num_experts, dim, self.num_inputs * self.hidden))
        setattr(self, leave, stacked(num_experts, self.hidden, dim))

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        return feed_forward(rows, sorted_layout(load), *self._parts())

    def mix(self, x: Tensor, routing: Routing, mask: Tensor | None = None) -> Tensor:
        return mix_feed_forward(x, routing, *self._parts())

    def projections(self) -> Tensor:
        """The first ``H`` columns of the first matrix: for ``glu`` those of its gate."""
        enter: Tensor = getattr(self, self.expert_parameters[0])
        return enter[..., : self.hidden]

    def run_even(self, rows: Tensor, stacks: Sequence[Tensor]) -> Tensor:
        enter, leave = stacks
        return torch.bmm(self.activation.apply(torch.bmm(rows, enter)), leave)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        matrices = self.num_inputs + 1
        return (2 * matrices * self.dim * self.hidden,) * self.num_experts

    def _parts(self) -> tuple[Tensor, Tensor, Activation, float]:
        enter, leave = (getattr(self, name) for name in self.expert_parameters)
        return enter, leave, self.activation, self.dropout if self.training else 0.0
