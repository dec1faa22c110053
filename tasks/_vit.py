"""A vision transformer whose feed-forward layers are routed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import Routing

from ._task import Backbone, Batch, Layer


class Block(nn.Module):
    """Pre-norm attention, then a pre-norm routed layer, each beside an identity.

    Args:
        dim: width.
        heads: attention heads.
        layer: the routed layer.
    """

    def __init__(self, dim: int, heads: int, layer: nn.Module) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.moe_norm = nn.LayerNorm(dim)
        self.moe = layer

    def forward(self, x: Tensor, ids: Tensor | None) -> tuple[Tensor, Routing]:
        """``(B, L, D)`` to the same shape, and the layer's routing."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        update, routing = self.moe(self.moe_norm(x), ids=ids)
        return x + update, routing


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
    ) -> None:
        super().__init__()
        self.cut = cut
        self.embed = nn.Linear(patch_dim, dim)
        self.position = nn.Parameter(torch.randn(length, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, layer((length, dim))) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, C, H, W)`` to logits ``(B, classes)``."""
        x = self.embed(self.cut(batch["x"])) + self.position
        routings = []
        for block in self.blocks:
            x, routing = block(x, batch.get("ids"))
            routings.append(routing)
        return self.head(self.norm(x).mean(1)), routings
