"""The plain ways to learn several targets: one network for all, or one for each."""

import torch
from torch import Tensor, nn

from routers import Routing

from .network import Trunk


class Bottom(nn.Module):
    """Feed-forward layers, each beside an identity, without routing.

    Args:
        dim: ``D``.
        depth: number of layers.
        hidden: ``H``, their width.
    """

    def __init__(self, dim: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(dim),
                nn.Linear(dim, hidden, bias=False),
                nn.GELU(),
                nn.Linear(hidden, dim, bias=False),
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, D)`` to the same shape."""
        for layer in self.layers:
            x = x + layer(x)
        return x


class SharedBottom(Trunk):
    """One representation for all targets.

    Source: Caruana 1997 (Machine Learning 28, doi 10.1023/A:1007379606734).

    Args:
        bottom: what all targets share.
    """

    def __init__(self, bottom: Bottom) -> None:
        super().__init__()
        self.bottom = bottom

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, D)`` to ``(1, B, D)``."""
        return self.bottom(shared).unsqueeze(0), []


class Single(Trunk):
    """A network of its own for every target: nothing is shared.

    Args:
        bottoms: one per target.
    """

    def __init__(self, bottoms: list[Bottom]) -> None:
        super().__init__()
        self.bottoms = nn.ModuleList(bottoms)

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(T, B, D)``, each target's encoding, to the same shape."""
        outs = [bottom(x) for bottom, x in zip(self.bottoms, shared, strict=True)]
        return torch.stack(outs), []
