"""Experts that do nothing, to see what all else costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from .._bank import Bank
from ..layers.moe import MoE


class NoOpBank(Bank):
    """Stands in for a bank: takes the same rows, hands them back, and notes their shape.

    Attributes:
        row_shape: of the rows last seen.
    """

    def __init__(self, bank: Bank) -> None:
        super().__init__(bank.dim, bank.num_experts)
        self.bank = bank
        self.row_axes = bank.row_axes
        self.expert_parameters = tuple(
            f"bank.{name}" for name in bank.expert_parameters
        )  # merging is not their work
        self.row_shape: tuple[int, ...] = ()

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        self.row_shape = tuple(rows.shape[1:])
        return rows

    def pool(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.bank.pool(x, mask)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (0,) * self.num_experts


@contextmanager
def skip_experts(layers: list[MoE]) -> Iterator[list[NoOpBank]]:
    """Inside, the layers' experts do nothing, and shared ones are left out.

    Experts may work on padding where that is faster. What they cost is their price times their
    load, ``MoE.expert_flops``; what all else costs can be counted while they are idle.

    >>> import experts, routers, torch
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> with skip_experts([layer]):
    ...     experts.count_flops(lambda: layer(torch.ones(5, 8)))  # the router's 5 * 8 * 4 * 2
    320
    """
    at_work = [(layer.bank, layer.shared) for layer in layers]
    idle = [NoOpBank(bank) for bank, _ in at_work]
    try:
        for layer, rest in zip(layers, idle, strict=True):
            layer.bank, layer.shared = rest, None
        yield idle
    finally:
        for layer, (bank, shared) in zip(layers, at_work, strict=True):
            layer.bank, layer.shared = bank, shared
