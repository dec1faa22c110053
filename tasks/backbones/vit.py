"""A vision transformer whose feed-forward layers are routed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from routers import Routing

from .._task import Backbone, Batch, Layer
from .blocks import Blocks


class ViT(Backbone):
    """Overlapping patches, learned positions, routed blocks, mean pooling, a linear head.

    Source: Dosovitskiy et al. 2021, 2010.11929; routed as in V-MoE, 2106.05974.

    Args:
        layer: builds the routed layer for samples of shape ``(L, D)``.
        cut: images ``(B, C, H, W)`` to patches ``(B, L, P)``.
        patch_dim: values in a patch, ``P``.
        length: patches in an image, ``L``.
        dim: ``D``.
        depth: number of blocks.
        heads: attention heads.
        classes: outputs.
        routed: which blocks are routed, from 0; None for all.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        cut: Callable[[Tensor], Tensor],
        patch_dim: int,
        length: int,
        dim: int,
        depth: int,
        heads: int,
        classes: int,
        routed: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.cut = cut
        self.embed = nn.Linear(patch_dim, dim)
        self.position = nn.Parameter(torch.randn(length, dim) * 0.02)
        self.blocks = Blocks(layer, length=length, dim=dim, depth=depth, heads=heads, routed=routed)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, C, H, W)`` to logits ``(B, classes)``."""
        x = self.embed(self.cut(batch["x"])) + self.position
        x, routings = self.blocks(x, ids=batch.get("ids"), task=batch.get("task"))
        return self.head(self.norm(x).mean(1)), routings
