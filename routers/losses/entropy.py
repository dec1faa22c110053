"""Sharpness of each item's gate."""

from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, entropies, mean_or_zero


@LOSSES.register("entropy")
def entropy(routing: Routing) -> Tensor:
    """Mean entropy of the items' gates in nats; minimized, each item decides sharply.

    >>> import torch
    >>> from routers import Items
    >>> items, probs = Items(torch.zeros(1, 1)), torch.tensor([[0.5, 0.5]])
    >>> routing = Routing.by_item(items, torch.tensor([[0]]), torch.ones(1, 1), 2, probs=probs)
    >>> round(entropy(routing).item(), 4)
    0.6931
    """
    return mean_or_zero(entropies(routing.unpadded(routing.probs)))
