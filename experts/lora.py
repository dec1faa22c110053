"""Low-rank maps that are added to what a frozen network computes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import OptionError

from ._bank import EXPERTS, Bank, stacked
from .kernels.grouped import grouped_linear


@EXPERTS.register("lora")
class LoRA(Bank):
    """Low-rank maps, to be added to the output of a frozen network.

    ``y_e = (alpha / r) x A_e B_e`` with ``A_e`` ``(D, r)`` and ``B_e`` ``(r, D)``, which is 0 at
    first: a layer begins as the network without it. With a shared ``A`` only ``B_e`` belongs to an
    expert. ``MoE.shared`` or ``experts.Adapted`` holds the frozen network.

    Source: Zadouri et al. 2023 (MoLoRA), 2309.05444, section 3; Hu et al. 2021, 2106.09685,
    equation 3; the shared ``A`` as in HydraLoRA, 2404.19245, which we know from secondary texts.

    Args:
        rank: ``r``.
        alpha: scale of the output, times the rank.
        shared_down: one ``A`` for all experts.
        outputs: width of the output, for a frozen map that is not square; ``dim`` if None.

    >>> bank = LoRA(8, 4, rank=2)
    >>> bank.parameters_per_expert(), bank.flops((8,))
    ((32, 32, 32, 32), (64, 64, 64, 64))
    >>> LoRA(8, 4, rank=2, shared_down=True).parameters_per_expert()
    (16, 16, 16, 16)
    """

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        shared_down: bool = False,
        outputs: int | None = None,
    ) -> None:
        super().__init__(dim, num_experts)
        self.out_dim = dim if outputs is None else outputs
        if self.out_dim < 1:
            raise OptionError("outputs", outputs, f"an integer >= 1, or null for {dim}")
        if rank < 1:
            raise OptionError("rank", rank, "an integer >= 1")
        if not alpha > 0:
            raise OptionError("alpha", alpha, "a number > 0")
        self.rank, self.alpha = rank, alpha
        self.down = stacked(1 if shared_down else num_experts, dim, rank)
        self.up = nn.Parameter(torch.zeros(num_experts, rank, self.out_dim))
        self.expert_parameters = ("up",) if shared_down else ("down", "up")

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        of_down = load if len(self.down) > 1 else load.sum(0, keepdim=True)
        narrow = grouped_linear(rows, self.down, of_down)
        return grouped_linear(narrow, self.up, load) * (self.alpha / self.rank)

    def projections(self) -> Tensor | None:
        return self.down if "down" in self.expert_parameters else None

    def run_even(self, rows: Tensor, stacks: Sequence[Tensor]) -> Tensor:
        *down, up = stacks
        return rows @ (down[0] if down else self.down) @ up * (self.alpha / self.rank)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (2 * self.rank * (self.dim + self.out_dim),) * self.num_experts

    def parameters_per_expert(self) -> tuple[int, ...]:
        own = sum(self.get_parameter(name).numel() for name in self.expert_parameters)
        return (own // self.num_experts,) * self.num_experts
