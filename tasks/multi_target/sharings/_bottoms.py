"""Feed-forward trunks without routing, as large as the mixture that they are compared with."""

from torch import Tensor, nn

from ._base import Parts
from .mmoe import MMoE


class Bottom(nn.Module):
    """Feed-forward layers with residual connections, without routing.

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


def build_bottoms(parts: Parts, number: int) -> list[Bottom]:
    """Bottoms whose parameters are in total nearest to those of ``MMoE`` with the same parts."""
    wanted = _num_parameters(MMoE(parts)) / number
    narrow, wide = (_num_parameters(Bottom(parts.dim, parts.depth, hidden)) for hidden in (1, 2))
    hidden = max(1, 1 + round((wanted - narrow) / (wide - narrow)))
    return [Bottom(parts.dim, parts.depth, hidden) for _ in range(number)]


def _num_parameters(module: nn.Module) -> int:
    return sum(values.numel() for values in module.parameters())
