"""Very many experts of one neuron each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import Routing

from ._bank import EXPERTS, Bank, stacked
from .kernels.sparse_neurons import Pairs, neurons


@EXPERTS.register("singleton")
class Singleton(Bank):
    """A single neuron per expert: up to a million experts in two matrices.

    ``y = gelu(x . u_e) v_e``, without biases. Rows of the matrices are read by index without a
    copy per assignment, so time and memory grow with the assignments and not with ``E``.

    Source: PEER, He 2024, 2407.04153, section 2.2; an expert per value as in Lample et al.
    2019, 1907.05242.

    >>> bank = Singleton(4, 1024)
    >>> bank.flops((4,))[0], sum(p.numel() for p in bank.parameters())
    (16, 8192)
    """

    expert_parameters = ("into", "out")

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.into = stacked(num_experts, dim)
        self.out = nn.Parameter(torch.empty(num_experts, dim).uniform_(-1, 1))

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        each = torch.arange(len(rows), device=rows.device)
        expert = torch.arange(len(load), device=rows.device).repeat_interleave(
            load, output_size=len(rows)
        )
        pairs = Pairs(each, expert, each, len(load))
        return neurons(rows, rows.new_ones(len(rows)), self.into, self.out, pairs)

    def mix(self, x: Tensor, routing: Routing, mask: Tensor | None = None) -> Tensor:
        if routing.weight.dim() > 1:
            return super().mix(x, routing, mask)
        order, start = routing.item_order
        item, expert, weight = (
            given if order is None else given.index_select(0, order)
            for given in (routing.item, routing.expert, routing.weight)
        )
        pairs = Pairs(item.contiguous(), expert, start, self.num_experts)
        return neurons(x, weight, self.into, self.out, pairs)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (4 * self.dim,) * self.num_experts
