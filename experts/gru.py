"""Recurrent networks over a sequence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._bank import EXPERTS, Bank, check_hidden, stacked
from .kernels.grouped import grouped_linear, linear_by_position


@EXPERTS.register("gru")
class GRU(Bank):
    """A gated recurrent unit over a whole sequence.

    It runs from left to right, and a linear map returns to width ``D``:
    ``r, z = sigmoid(x_t W + h U)``, ``n = tanh(x_t W + r * (h U))``, ``h = (1 - z) n + z h``,
    ``y_t = h O``; no biases. Whole sequences are routed: a row is ``(L, D)``. Padding does not
    change the state. One grouped product computes a time step of all experts.

    Source: Cho et al. 2014, 1406.1078, with the reset after the product.

    Args:
        hidden: ``H``, the width of the state; ``dim`` if None.

    >>> GRU(4, 1, hidden=2).flops((3, 4))  # 3 steps of 2 * (4 * 6 + 2 * 6 + 2 * 4)
    (264,)
    """

    row_axes = ("L", "D")
    expert_parameters = ("enter", "recur", "leave")

    def __init__(self, dim: int, num_experts: int, *, hidden: int | None = None) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, dim)
        self.enter = stacked(num_experts, dim, 3 * self.hidden)
        self.recur = stacked(num_experts, self.hidden, 3 * self.hidden)
        self.leave = stacked(num_experts, self.hidden, dim)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        entering = linear_by_position(rows, self.enter, load)
        real = [None] * rows.shape[1] if mask is None else mask.unsqueeze(-1).unbind(1)
        state = entering.new_zeros(rows.shape[0], self.hidden)
        states = []
        for step, here in zip(entering.unbind(1), real, strict=True):
            moved = self._step(step, state, load)
            state = moved if here is None else torch.where(here, moved, state)
            states.append(state)
        out = linear_by_position(torch.stack(states, 1), self.leave, load)
        return out if mask is None else out.masked_fill(~mask.unsqueeze(-1), 0.0)

    def _step(self, entering: Tensor, state: Tensor, load: Tensor) -> Tensor:
        recurring = grouped_linear(state, self.recur, load)
        x_reset, x_keep, x_new = entering.chunk(3, -1)
        h_reset, h_keep, h_new = recurring.chunk(3, -1)
        keep = torch.sigmoid(x_keep + h_keep)
        new = torch.tanh(x_new + torch.sigmoid(x_reset + h_reset) * h_new)
        return new + keep * (state - new)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        d, h = self.dim, self.hidden
        return (2 * row_shape[0] * (3 * d * h + 3 * h * h + h * d),) * self.num_experts
