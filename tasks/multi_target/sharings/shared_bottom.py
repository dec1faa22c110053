"""One network for all targets, without routing."""

from torch import Tensor, nn

from routers import Routing

from ._base import SHARINGS, Parts, Trunk
from .mmoe import MMoE


@SHARINGS.register("shared_bottom")
class SharedBottom(Trunk):
    """One representation for all targets, with as many parameters as the trunk of ``mmoe``.

    Source: Caruana 1997 (Machine Learning 28, doi 10.1023/A:1007379606734).
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        (self.bottom,) = build_bottoms(parts, 1)

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, D)`` to ``(1, B, D)``."""
        return self.bottom(shared).unsqueeze(0), []


class Bottom(nn.Module):
    """``depth`` feed-forward layers of width ``hidden`` with residual connections."""

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
