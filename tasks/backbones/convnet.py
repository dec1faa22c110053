"""A convolutional network whose routed layers send whole images to experts."""

from torch import Tensor, nn
from torch.nn import functional as F

from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples, check_counts, check_depth
from ._blocks import residual


@BACKBONES.register("convnet")
class ConvNet(Backbone):
    """A convolution that halves the image, residual routed layers, and a linear head.

    The router sees an image's channels averaged over space, so each image takes its own path
    through the network (dynamic routing).

    Args:
        dim: ``D``.
        depth: number of routed blocks.
    """

    reads = "images"
    sample_axes = ("D", "H", "W")
    expert = "conv"

    def __init__(self, layer: Layer, samples: Samples, *, dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        check_counts(dim=dim)
        check_depth(depth)
        channels, height, width = samples.shape
        self.stem = nn.Conv2d(channels, dim, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(1, dim) for _ in range(depth))
        self.layers = nn.ModuleList(layer((dim, height // 2, width // 2)) for _ in range(depth))
        self.norm = nn.GroupNorm(1, dim)
        self.head = nn.Linear(dim * 4, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, channels, H, W)`` to logits ``(B, classes)``."""
        x = F.max_pool2d(F.gelu(self.stem(batch["x"])), 2)
        x, routings = residual(x, self.layers, self.norms, ids=batch.get("ids"))
        return self.head(F.adaptive_avg_pool2d(self.norm(x), 2).flatten(1)), routings
