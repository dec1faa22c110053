"""Experts that are modules of any kind."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from routers import ConfigError

from .._bank import Bank
from ..accounting.flops import count_flops


class ModuleBank(Bank):
    """Experts that are modules of any kind, each called with its rows.

    General but slow: one call per expert. ``ModuleBank.of`` builds it.

    >>> bank = ModuleBank.of([nn.Linear(4, 4), nn.Linear(4, 4)], 4)
    >>> bank(torch.ones(5, 4), load=torch.tensor([5, 0])).shape
    torch.Size([5, 4])
    """

    experts: nn.ModuleList

    @classmethod
    def of(cls, modules: Sequence[nn.Module], dim: int, row_axes: tuple[str, ...] = ("D",)) -> Self:
        """A bank of modules that map rows ``(A, ...)`` of ``row_axes`` to the same shape."""
        bank = cls(dim, len(modules))
        bank.row_axes = row_axes
        bank.experts = nn.ModuleList(modules)
        bank.training = bank.experts.training = modules[0].training
        return bank

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            raise ConfigError(
                "experts that are copies of a module take no mask inside of their rows; give a "
                "mask (N,) of whole samples, or route modules that process single tokens"
            )
        parts = torch.split(rows, load.tolist())
        pairs = list(zip(self.experts, parts, strict=True))
        done = [expert(part) for expert, part in pairs if len(part)]
        out = torch.cat(done) if done else rows
        unused = [expert for expert, part in pairs if not len(part)]
        idle = [p for expert in unused for p in expert.parameters() if p.requires_grad]
        if idle:
            out = ZeroGradients.apply(out, *idle)  # type: ignore[no-untyped-call]
        return out

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        expert = deepcopy(self.experts[0]).eval()
        like = next(expert.parameters(), torch.zeros(()))
        row = torch.zeros(1, *row_shape, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            return (count_flops(lambda: expert(row)),) * self.num_experts

    def take_experts(self, index: Sequence[int]) -> Self:
        new = self.of([deepcopy(self.experts[e]) for e in index], self.dim, self.row_axes)
        new.training = new.experts.training = self.training
        return new

    def parameters_of(self, expert: int) -> Iterator[Tensor]:
        return (parameter.data for parameter in self.experts[expert].parameters())

    def parameters_per_expert(self) -> tuple[int, ...]:
        return tuple(sum(p.numel() for p in expert.parameters()) for expert in self.experts)


class ZeroGradients(torch.autograd.Function):
    """The rows, and a gradient of zero for parameters of experts that have none.

    Distributed training waits for a gradient of every parameter.
    """

    @staticmethod
    def forward(rows: Tensor, *parameters: Tensor) -> Tensor:
        return rows.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.parameters = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad, *map(torch.zeros_like, ctx.parameters)
