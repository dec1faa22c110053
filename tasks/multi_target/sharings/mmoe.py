"""Multi-gate mixture of experts: one gate per target over experts that all targets share."""

from functools import partial

from torch import Tensor, nn

from experts import mmoe
from routers import Routing

from ...backbones._blocks import residual
from ._base import SHARINGS, Parts, Trunk


@SHARINGS.register("mmoe")
class MMoE(Trunk):
    """Residual routed layers; the last has a gate per target.

    Source: Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007). Layers before the last have one
    gate: they deepen what all targets share.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        gates = partial(mmoe, tasks=len(parts.targets))
        self.norms = nn.ModuleList(nn.LayerNorm(parts.dim) for _ in range(parts.depth))
        before = [parts.layer((parts.dim,)) for _ in range(parts.depth - 1)]
        self.layers = nn.ModuleList([*before, parts.layer((parts.dim,), gates)])

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, D)`` to ``(T, B, D)``."""
        *before, last = self.layers
        x, routings = residual(shared, before, self.norms, ids=ids)
        update, routing = last(self.norms[-1](x).unsqueeze(0), ids=ids)
        return x + update, [*routings, routing]
