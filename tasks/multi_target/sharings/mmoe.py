"""Multi-gate mixture of experts: one gate per target over experts that all targets share."""

from functools import partial

from torch import Tensor, nn

from experts import mmoe
from routers import Routing

from ._base import SHARINGS, Parts, Trunk


@SHARINGS.register("mmoe")
class MMoE(Trunk):
    """Residual routed layers; the last has a gate per target.

    Source: Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007). Layers before the last have one
    gate: they deepen what all targets share.

    Args:
        parts: targets, widths and depth.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        gates = partial(mmoe, tasks=len(parts.targets))
        self.norms = nn.ModuleList(nn.LayerNorm(parts.dim) for _ in range(parts.depth))
        before = [parts.layer((parts.dim,)) for _ in range(parts.depth - 1)]
        self.layers = nn.ModuleList([*before, parts.layer((parts.dim,), gates)])

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, D)`` to ``(T, B, D)``."""
        x, routings = shared, []
        *before, last = zip(self.norms, self.layers, strict=True)
        for norm, layer in before:
            update, routing = layer(norm(x), ids=ids)
            x = x + update
            routings.append(routing)
        norm, layer = last
        update, routing = layer(norm(x).unsqueeze(0), ids=ids)
        return x + update, [*routings, routing]
