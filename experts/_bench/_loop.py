"""The plain loop over experts that most code has."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import routers
from routers import Items, Router

from .._bank import stacked
from ._contestant import Contestant
from ._shapes import Shape


class Loop(nn.Module):
    """Each expert in turn picks its tokens by comparison and adds what it makes of them."""

    def __init__(self, router: Router, shape: Shape) -> None:
        super().__init__()
        self.router = router
        self.up = stacked(shape.experts, shape.dim, shape.hidden)
        self.down = stacked(shape.experts, shape.hidden, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        routing = self.router(Items(x))
        weight = routing.weight.unsqueeze(-1).to(x.dtype)  # gates may be wider
        y = torch.zeros_like(x)
        # unbind, for indexing the stack in a loop would make a full gradient of it per expert
        for number, (up, down) in enumerate(zip(self.up.unbind(), self.down.unbind(), strict=True)):
            (mine,) = torch.where(routing.expert == number)
            item = routing.item[mine]
            y.index_add_(0, item, weight[mine] * (F.gelu(x[item] @ up) @ down))
        return y


def loop(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """The same router and the same experts as ``topk``."""
    router = routers.build("topk", shape.dim, shape.experts, k=shape.k)
    layer = Loop(router, shape).to(device, dtype)
    return Contestant("loop over experts", layer, layer, shape.flops, patience=1.0)
