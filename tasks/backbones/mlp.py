"""A network whose routed layers send the pixels of whole images to experts."""

from math import prod

from torch import Tensor, nn

from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples, check_depth
from ._blocks import residual


@BACKBONES.register("mlp")
class MLP(Backbone):
    """All pixels of an image as one vector, residual routed layers, a linear head.

    Nothing but the routed layers is nonlinear: a linear model of pixels is what is left without
    them. The batch is one group.

    Args:
        depth: number of routed layers.
    """

    reads = "images"
    sample_axes = ("D",)

    def __init__(self, layer: Layer, samples: Samples, *, depth: int = 1) -> None:
        super().__init__()
        check_depth(depth)
        dim = prod(samples.shape)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, C, H, W)`` to logits ``(B, classes)``."""
        x, routings = residual(batch["x"].flatten(1), self.layers, self.norms, ids=batch.get("ids"))
        return self.head(self.norm(x)), routings
