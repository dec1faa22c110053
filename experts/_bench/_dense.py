"""The layer without routing that does the same work per token."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._bank import stacked
from ._contestant import Contestant
from ._shapes import Shape


class Dense(nn.Module):
    """``gelu(x V) W`` with a hidden width of ``K * H``: a top-K layer's active FLOPs."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden = shape.k * shape.hidden
        # two axes from the start: a slice of a stack would cost it a copy in the backward pass
        self.up = nn.Parameter(stacked(1, shape.dim, hidden).detach().squeeze(0))
        self.down = nn.Parameter(stacked(1, hidden, shape.dim).detach().squeeze(0))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x @ self.up) @ self.down


def dense(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """What all ratios are to."""
    layer = Dense(shape).to(device, dtype)
    return Contestant("dense", layer, layer, shape.flops)
