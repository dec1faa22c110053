"""Zero-computation experts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from routers import OptionError
from routers.plugins import arguments_of, rebuilt, unknown

from ._bank import EXPERTS, Bank


class Zero(nn.Module):
    """``E(x) = 0``: discard."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.zeros_like(rows)


class Constant(nn.Module):
    """``E(x) = a x + b v`` with ``[a, b] = softmax(x W)``: replace by a learned vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.choose = nn.Parameter(torch.randn(dim, 2) * dim**-0.5)
        self.vector = nn.Parameter(torch.randn(dim))

    def forward(self, rows: Tensor) -> Tensor:
        keep, swap = (rows @ self.choose).softmax(-1).chunk(2, -1)
        return keep * rows + swap * self.vector


#: Modules of rows ``(A, D)`` by name, built for a width.
KINDS: Mapping[str, Callable[[int], nn.Module]] = {
    "zero": lambda dim: Zero(),
    "copy": nn.Identity,
    "constant": Constant,
}


@EXPERTS.register("null")
class Null(Bank):
    """Zero-computation experts: discard, skip or replace a token.

    Together with ordinary experts (see ``mixed``) they let a router spend less on easy tokens.

    Source: MoE++, Jin et al. 2024, 2410.07348.

    Args:
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
        self.experts = nn.ModuleList(KINDS[kinds[e % len(kinds)]](dim) for e in range(num_experts))

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = torch.split(rows, load.tolist())
        done = [expert(part) for expert, part in zip(self.experts, parts, strict=True)]
        return torch.cat(done)

    def take_experts(self, index: Sequence[int]) -> "Null":
        """``kinds`` has one kind for each expert, unless the kinds are in turn as before."""
        kinds = arguments_of(self)["kinds"]
        taken = [kinds[expert % len(kinds)] for expert in index]
        if all(kind == kinds[place % len(kinds)] for place, kind in enumerate(taken)):
            taken = kinds
        new = rebuilt(self, num_experts=len(index), kinds=taken).train(self.training)
        new.experts = nn.ModuleList(deepcopy(self.experts[expert]) for expert in index)
        return new

    def parameters_of(self, expert: int) -> Iterator[Tensor]:
        return (parameter.data for parameter in self.experts[expert].parameters())

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(4 * self.dim * isinstance(expert, Constant) for expert in self.experts)

    def parameters_per_expert(self) -> tuple[int, ...]:
        return tuple(sum(p.numel() for p in expert.parameters()) for expert in self.experts)
