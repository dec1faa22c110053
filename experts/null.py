"""Zero-computation experts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import OptionError
from routers.plugins import unknown

from ._bank import EXPERTS, Bank


class ZeroComputation(nn.Module, ABC):
    """A cheap expert: rows ``(A, D)`` to ``(A, D)`` at ``flops`` each."""

    flops = 0

    def __init__(self, dim: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Map rows to outputs."""


class Zero(ZeroComputation):
    """``E(x) = 0``: discard."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.zeros_like(rows)


class Copy(ZeroComputation):
    """``E(x) = x``: skip."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows


class Constant(ZeroComputation):
    """``E(x) = a x + b v`` with ``[a, b] = softmax(x W)``: replace by a learned vector."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.flops = 4 * dim
        self.choose = nn.Parameter(torch.randn(dim, 2) * dim**-0.5)
        self.vector = nn.Parameter(torch.randn(dim))

    def forward(self, rows: Tensor) -> Tensor:
        keep, swap = (rows @ self.choose).softmax(-1).chunk(2, -1)
        return keep * rows + swap * self.vector


KINDS: dict[str, type[ZeroComputation]] = {"zero": Zero, "copy": Copy, "constant": Constant}


@EXPERTS.register("null")
class Null(Bank):
    """Zero-computation experts: discard, skip or replace a token.

    Together with ordinary experts (see ``mixed``) they let a router spend less on easy tokens.

    Source: MoE++, Jin et al. 2024, 2410.07348.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        kinds: ``zero``, ``copy`` or ``constant``; expert ``e`` has ``kinds[e % len(kinds)]``.

    >>> Null(4, 3).flops((4,))
    (0, 0, 16)
    """

    def __init__(
        self, dim: int, num_experts: int, *, kinds: Sequence[str] = ("zero", "copy", "constant")
    ) -> None:
        super().__init__(dim, num_experts)
        if not kinds:
            raise OptionError("kinds", list(kinds), f"one or more of {', '.join(KINDS)}")
        for kind in kinds:
            if kind not in KINDS:
                raise unknown("kinds", kind, KINDS)
        chosen = [KINDS[kinds[e % len(kinds)]](dim) for e in range(num_experts)]
        self.flops_per_row: tuple[int, ...] = tuple(expert.flops for expert in chosen)
        self.experts = nn.ModuleList(chosen)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = torch.split(rows, load.tolist())
        done = [expert(part) for expert, part in zip(self.experts, parts, strict=True)]
        return torch.cat(done)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return self.flops_per_row

    def parameters_per_expert(self) -> tuple[int, ...]:
        return tuple(sum(p.numel() for p in expert.parameters()) for expert in self.experts)
