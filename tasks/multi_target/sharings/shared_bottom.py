"""One network for all targets, without routing."""

from torch import Tensor

from routers import Routing

from ._base import SHARINGS, Parts, Trunk
from ._bottoms import build_bottoms


@SHARINGS.register("shared_bottom")
class SharedBottom(Trunk):
    """One representation for all targets, with as many parameters as the trunk of ``mmoe``.

    Source: Caruana 1997 (Machine Learning 28, doi 10.1023/A:1007379606734).

    Args:
        parts: targets, widths and depth.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        (self.bottom,) = build_bottoms(parts, 1)

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, D)`` to ``(1, B, D)``."""
        return self.bottom(shared).unsqueeze(0), []
