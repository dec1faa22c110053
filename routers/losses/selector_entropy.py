"""Sharpness of each item's selectors."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, entropies
from ._gates import item_mean, selectors


@LOSSES.register("selector_entropy")
def selector_entropy(routing: Routing) -> Tensor:
    """Mean entropy of an item's selectors in nats, summed over them; 0 at best.

    At 0 each selector has settled on one expert. Source: DSelect-k, 2106.03760.

    >>> from routers import Items
    >>> even = torch.full((1, 1, 2), 0.5)
    >>> items, extras = Items(torch.zeros(1, 1)), {"selectors": even}
    >>> routing = Routing.by_mask(items, even[:, 0], extras=extras)
    >>> round(selector_entropy(routing).item(), 4)
    0.6931
    """
    found = selectors(routing, "selector_entropy")
    return torch.stack([item_mean(entropies(each)) for each in found]).sum()
