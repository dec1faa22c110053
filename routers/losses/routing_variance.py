"""Variation of an expert's probability over items."""

from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, mean_or_zero


@LOSSES.register("routing_variance")
def routing_variance(routing: Routing) -> Tensor:
    """``1 - 1 / E - sum_e Var_i(p_ie)``; 0 if items are sure of experts that share them evenly.

    Minimized, items differ in their experts. ``p`` is the gate's distribution; the variance is over
    the real items of the batch. On several devices it is that of each share, averaged.

    Source: the variance term of Guo et al. 2025, 2505.22323; the constant is ours.

    >>> import torch
    >>> from routers import Items
    >>> items, probs = Items(torch.zeros(2, 1)), torch.eye(2)
    >>> apart = Routing.by_mask(items, probs)
    >>> alike = Routing.by_mask(items, probs[[0, 0]])
    >>> routing_variance(apart).item(), routing_variance(alike).item()
    (0.0, 0.5)
    """
    square = mean_or_zero(routing.unpadded(routing.probs).square().sum(-1))
    mean = routing.prob_sums / routing.num_real.clamp_min(1)
    return 1 - 1 / routing.num_experts - square + mean.square().sum()
