"""A backbone: the network around the routed layers."""

from math import prod

from torch import Tensor, nn

from routers import OptionError, Routing
from tasks import BACKBONES, Backbone, Batch, Layer, Samples


@BACKBONES.register("my_backbone")
class MyBackbone(Backbone):
    """Images as one vector, residual routed layers and a linear head.

    Replace this by what your network does: lists show the first line of a docstring.

    Args:
        dim: width of the routed layers.
        depth: number of routed layers.
    """

    # The samples that it takes: images, texts, or windows of a stream of bytes.
    reads = "images"
    # True if patches or bytes are routed, and not whole samples.
    routes_tokens = False

    # Keyword arguments are the options: task.model.dim=64 on the command line.
    def __init__(self, layer: Layer, samples: Samples, *, dim: int = 32, depth: int = 1) -> None:
        super().__init__()
        for name, value in {"dim": dim, "depth": depth}.items():
            if value < 1:
                raise OptionError(name, value, "an integer >= 1")
        self.embed = nn.Linear(prod(samples.shape), dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        # One routed layer for each place; its router and experts are those of the configuration.
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.head = nn.Linear(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, C, H, W)`` to logits ``(B, classes)``, and a routing per layer."""
        x, routings = self.embed(batch["x"].flatten(1)), []
        for norm, layer in zip(self.norms, self.layers, strict=True):
            update, routing = layer(norm(x), ids=batch.get("ids"))  # ids for routers that hash
            x = x + update
            routings.append(routing)
        return self.head(x), routings
