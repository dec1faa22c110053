"""Sensitivity: how many experts change under a small change of the input."""

from dataclasses import replace

import numpy as np
import torch

from .._router import Router
from ..routing import Items
from .churn import churn
from .routes import Routes


@torch.no_grad()
def sensitivity(router: Router, items: Items, scale: float = 0.01, *, seed: int = 0) -> float:
    """Mean share of an item's experts that change if noise is added to the items.

    Each item ``x`` gets normal noise whose root mean square is about ``scale`` times that of ``x``.
    A router that draws at random draws the same for both, so what changes is due to the input
    alone; the random states outside are left as they were. Put the router in evaluation mode.

    Args:
        router: as built by ``routers.build``, or that of a layer.
        items: what it routes.
        scale: of the noise, relative to each item.
        seed: of the noise.

    >>> import routers
    >>> router = routers.build("topk", 4, 8).eval()
    >>> sensitivity(router, Items(torch.randn(100, 4)), scale=0.0)
    0.0
    """
    x = items.x
    # NumPy's: the same on all devices, and never the stream of torch that made the items
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(x.shape)).to(x)
    size = x.square().mean(-1, keepdim=True).sqrt()
    moved = replace(items, x=x + scale * size * noise)
    chosen = []
    for each in (items, moved):
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            chosen.append(Routes.of(router(each)).chosen)
    return churn(*chosen)
