"""Gated feed-forward networks with clamped inputs of the activation, and biases."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import OptionError

from ._bank import EXPERTS, Bank, check_hidden, stacked
from .kernels.grouped import grouped_linear


@EXPERTS.register("clamped_glu")
class ClampedGLU(Bank):
    """A feed-forward network with a gate, clamped before the activation, and biases.

    ``FFN_e(x) = (g sigma(alpha g) * (u + 1)) W_e + c_e`` with ``g = min(x G_e + a_e, limit)`` and
    ``u = x V_e + b_e`` within ``[-limit, limit]``. Biases start like the weights of their matrix.

    Source: the experts of GPT-OSS, ``GptOssExperts`` of transformers, which interleaves the
    columns of ``G`` and ``V``; here they are halves of one matrix, as in ``glu``.

    Args:
        hidden: ``H``, the hidden width; ``4 * dim`` if None.
        alpha: factor of the gate in its sigmoid.
        limit: largest gate, and largest absolute value of what it scales.

    >>> ClampedGLU(4, 2, hidden=8).parameters_per_expert()  # 3 * 4 * 8 and 2 * 8 + 4
    (116, 116)
    """

    expert_parameters = ("gate_and_up", "gate_and_up_bias", "down", "down_bias")

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        hidden: int | None = None,
        alpha: float = 1.702,
        limit: float = 7.0,
    ) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 4 * dim)
        for name, value in (("alpha", alpha), ("limit", limit)):
            if not 0 < value < math.inf:
                raise OptionError(name, value, "a finite number above 0")
        self.alpha = alpha
        self.limit = limit
        self.gate_and_up = stacked(num_experts, dim, 2 * self.hidden)
        self.gate_and_up_bias = _biases(num_experts, dim, 2 * self.hidden)
        self.down = stacked(num_experts, self.hidden, dim)
        self.down_bias = _biases(num_experts, self.hidden, dim)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        expert = torch.arange(len(load), device=load.device)
        expert = expert.repeat_interleave(load, output_size=len(rows))
        inner = grouped_linear(rows, self.gate_and_up, load)
        active = self._activated(inner + self.gate_and_up_bias.index_select(0, expert))
        return grouped_linear(active, self.down, load) + self.down_bias.index_select(0, expert)

    def run_even(self, rows: Tensor, stacks: Sequence[Tensor]) -> Tensor:
        enter, enter_bias, leave, leave_bias = (
            each if each.dim() == 3 else each.unsqueeze(1) for each in stacks
        )
        return torch.bmm(self._activated(torch.bmm(rows, enter) + enter_bias), leave) + leave_bias

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (6 * self.dim * self.hidden,) * self.num_experts

    def _activated(self, inner: Tensor) -> Tensor:
        gate, up = inner.chunk(2, -1)
        gate = gate.clamp(max=self.limit)
        up = up.clamp(-self.limit, self.limit)
        return gate * torch.sigmoid(self.alpha * gate) * (up + 1)


def _biases(num_experts: int, inputs: int, outputs: int) -> nn.Parameter:
    """Biases ``(E, outputs)``, initialized like those of ``nn.Linear``."""
    return nn.Parameter(stacked(num_experts, inputs, outputs).detach()[:, 0].clone())
