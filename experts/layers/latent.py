"""Experts in a space narrower than the layer, between two maps that they share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import ConfigError, OptionError

from .._bank import Bank


class Latent(nn.Module):
    """Two maps around the experts of a layer: from its width to a narrower one, and back.

    ``y = norm(sum_e w_e(x) FFN_e(x W)) V`` with ``W`` ``(D, l)`` and ``V`` ``(l, D)``, which all
    experts share. Each runs once for an item, not for every expert of it: the first before items
    are sent to experts, the second after their sum. The router reads ``x``. So rows that travel
    to experts are narrow, and for the same cost there can be more experts.

    Source: LatentMoE, 2601.18089, which we know from secondary texts; so is the norm, without
    which they report instability. Root mean square and a learned scale are ours.

    Args:
        dim: ``D``, of the layer.
        width: ``l``, below ``D``.
        norm: whether sums are normalized, by their root mean square, before they are widened.

    >>> import experts, routers
    >>> bank = experts.build("mlp", 4, 6, hidden=8)
    >>> layer = experts.MoE(routers.build("topk", 16, 6, k=2), bank, latent=Latent(16, 4))
    >>> y, routing = layer(torch.randn(5, 16))
    >>> y.shape, layer.flops(routing, (4,))  # 10 rows of 128, 5 items of 2 * 2 * 16 * 4
    (torch.Size([5, 16]), 2560)
    """

    def __init__(self, dim: int, width: int, *, norm: bool = True) -> None:
        super().__init__()
        if not isinstance(width, int) or not 1 <= width < dim:
            raise OptionError("width", width, f"an integer in [1, {dim - 1}], below the layer's")
        self.dim, self.width = dim, width
        self.enter = nn.Linear(dim, width, bias=False)
        self.norm = nn.RMSNorm(width) if norm else nn.Identity()
        self.leave = nn.Linear(width, dim, bias=False)

    def narrow(self, rows: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., l)``."""
        out: Tensor = self.enter(rows)
        return out

    def widen(self, sums: Tensor) -> Tensor:
        """Sums of outputs of experts, ``(..., l)`` to ``(..., D)``; those of no expert stay 0."""
        out: Tensor = self.leave(self.norm(sums))
        return out

    def flops(self, row_shape: Sequence[int], streams: int = 1, outputs: int = 1) -> int:
        """FLOPs for an item: the first map of each of its streams, the second of each output."""
        return 2 * (streams + outputs) * self.dim * int(torch.Size(row_shape).numel())

    def check(self, bank: Bank) -> None:
        """Raise ``ConfigError`` unless the experts of a bank work in this width."""
        if (bank.dim, bank.out_dim) != (self.width, self.width):
            raise ConfigError(
                f"latent.width={self.width} but the bank's dim is {bank.dim} and its out_dim "
                f"{bank.out_dim}; build the bank for the width of the latent space"
            )
        if bank.row_axes[-1] != "D":
            axes = ", ".join(bank.row_axes)
            raise ConfigError(
                f"latent: maps the last axis, and rows of {type(bank).__name__} are ({axes}); use "
                "experts of tokens or sequences, such as mlp"
            )


def projections_of(bank: Bank, latent: Latent | None) -> Tensor | None:
    """The matrix by which each expert first reads an item of the layer, ``(E, D, P)``."""
    first = bank.projections()
    if first is None or latent is None:
        return first
    return latent.enter.weight.t() @ first
