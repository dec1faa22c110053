"""A network for several targets: encoder, trunk, and a tower per target."""

from dataclasses import dataclass

from torch import Tensor, nn

from routers import Routing

from .._task import Backbone, Batch
from .sharings import Parts, Trunk
from .targets import Target, kind_of
from .weightings import Weighting


@dataclass(frozen=True)
class Outputs:
    """Logits ``(B, O)`` of each target, the representation that all are made from, and how their
    losses become one.
    """

    logits: tuple[Tensor, ...]
    shared: Tensor
    weighting: Weighting


class MultiTaskNet(Backbone):
    """Encoder, trunk, a tower per target, and the weighting of losses, which may learn too."""

    def __init__(
        self, parts: Parts, encoder: nn.Module, trunk: Trunk, weighting: Weighting
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.trunk = trunk
        self.towers = nn.ModuleList(_tower(parts, target) for target in parts.targets)
        self.weighting = weighting

    def forward(self, batch: Batch) -> tuple[Outputs, list[Routing]]:
        """Logits of every target, and one routing per routed layer."""
        shared = self.encoder(batch)
        trunk, routings = self.trunk(shared, batch.get("ids"))
        of_target = trunk.expand(len(self.towers), *trunk.shape[1:])
        logits = tuple(tower(x) for tower, x in zip(self.towers, of_target, strict=True))
        return Outputs(logits, shared, self.weighting), routings


def _tower(parts: Parts, target: Target) -> nn.Module:
    """One hidden layer, as in MMoE, Ma et al. 2018, section 4."""
    return nn.Sequential(
        nn.LayerNorm(parts.dim),
        nn.Dropout(parts.dropout),
        nn.Linear(parts.dim, parts.tower),
        nn.GELU(),
        nn.Linear(parts.tower, kind_of(target).outputs(target)),
    )
