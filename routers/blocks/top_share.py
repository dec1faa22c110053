"""The best of each group."""

import torch
from torch import Tensor

from ..routing.items import Items


def top_share(items: Items, scores: Tensor, share: float) -> Tensor:
    """The ``ceil(share * n)`` of each group's ``n`` real items that score highest.

    Args:
        items: which items there are, in groups.
        scores: ``(N,)``.
        share: above 0 and at most 1.

    Returns:
        ``(N,)`` bool; of equals the first are in.

    >>> top_share(Items(torch.zeros(3, 1)), torch.tensor([0.1, 0.5, 0.2]), 0.5).tolist()
    [False, True, True]
    """
    real = items.grouped(items.real())
    ranked = items.grouped(scores).masked_fill(~real, -torch.inf)
    rank = ranked.argsort(dim=1, descending=True, stable=True).argsort(1)
    most = (share * real.sum(1, keepdim=True).double() - 1e-9).ceil()
    return ((rank < most) & real).flatten()
