"""A vision transformer whose feed-forward layers are routed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import OptionError, Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples
from ._blocks import Blocks, check_blocks, known
from ._image_ops import patches


@BACKBONES.register("vit")
class ViT(Backbone):
    """Vision transformer: patches, learned positions, routed blocks, mean pooling, linear head.

    Source: Dosovitskiy et al. 2021, 2010.11929; routed as in V-MoE, 2106.05974.

    Args:
        dim: ``D``, a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads.
        patch: side of a patch, in pixels.
        overlap: pixels that neighbouring patches share; even.
        routed: indices of the routed blocks, from 0; None for all. The others are dense.
        attention: of the routed blocks, ``dense``; ``moa``, a mixture of attention heads: the
            router of a layer before each routed one picks among ``moe.num_experts`` heads; or
            ``switch_head``: each head has two routers, of values and of outputs, that pick among
            ``moe.num_experts`` separate ones each.
    """

    reads = "images"
    routes_tokens = True
    sample_axes = ("L", "D")

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        patch: int = 4,
        overlap: int = 0,
        routed: Sequence[int] | None = None,
        attention: str = "dense",
    ) -> None:
        super().__init__()
        check_blocks(dim, depth, heads, routed, attention)
        channels, *sides = samples.shape
        if not 1 <= patch <= min(sides):
            size = "x".join(map(str, sides))
            raise OptionError("patch", patch, f"an integer in [1, {min(sides)}]: images are {size}")
        if not 0 <= overlap < patch or overlap % 2:
            raise OptionError("overlap", overlap, f"an even integer in [0, patch={patch})")
        self.patch = patch
        self.overlap = overlap
        length = patches(torch.zeros(1, *samples.shape), patch, overlap).shape[1]
        self.embed = nn.Linear(channels * patch**2, dim)
        self.position = nn.Parameter(torch.randn(length, dim) * 0.02)
        self.blocks = Blocks(layer, (length, dim), depth, heads, routed=routed, attention=attention)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, C, H, W)`` to logits ``(B, classes)``."""
        x = self.embed(patches(batch["x"], self.patch, self.overlap).flatten(2)) + self.position
        x, routings = self.blocks(x, **known(batch))
        return self.head(self.norm(x).mean(1)), routings
