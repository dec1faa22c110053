"""No-op bank, used to count FLOPs outside the experts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from .._bank import Bank
from ..layers.moe import MoE


class NoOpBank(Bank):
    """A replacement for a bank that returns its rows and records their shape.

    Attributes:
        row_shape: shape of the last rows.
    """

    def __init__(self, bank: Bank) -> None:
        super().__init__(bank.dim, bank.num_experts)
        self.bank = bank
        self.row_axes = bank.row_axes
        self.expert_parameters = tuple(
            f"bank.{name}" for name in bank.expert_parameters
        )  # merging is not part of the experts
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
    """Context manager: the layers' experts are no-ops, and shared experts are removed.

    Experts may compute padding if that is faster, so their FLOPs follow from their load by
    ``MoE.expert_flops``; all other FLOPs can be counted inside this context.

    >>> import experts, routers, torch
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> with skip_experts([layer]):
    ...     experts.count_flops(lambda: layer(torch.ones(5, 8)))  # the router's 5 * 8 * 4 * 2
    320
    """
    originals = [(layer.bank, layer.shared) for layer in layers]
    no_ops = [NoOpBank(bank) for bank, _ in originals]
    try:
        for layer, no_op in zip(layers, no_ops, strict=True):
            layer.bank, layer.shared = no_op, None
        yield no_ops
    finally:
        for layer, (bank, shared) in zip(layers, originals, strict=True):
            layer.bank, layer.shared = bank, shared
