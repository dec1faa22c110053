"""Entropy that the mean gate lacks."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, entropies, mean_or_zero
from ._statistics import Level, expert_statistics


@LOSSES.register("diversity")
def diversity(routing: Routing, level: Level = "batch") -> Tensor:
    """``log E`` minus the entropy of the mean gate, in nats; 0 at best: all experts are used.

    >>> from routers import Items
    >>> items, probs = Items(torch.zeros(1, 1)), torch.tensor([[1.0, 0.0]])
    >>> routing = Routing.by_item(items, torch.tensor([[0]]), torch.ones(1, 1), 2, probs=probs)
    >>> round(diversity(routing).item(), 4)
    0.6931
    """
    mean = expert_statistics(routing, level).probs
    share = mean / mean.sum(-1, keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)
    return mean_or_zero(torch.log(share.new_tensor(share.shape[-1])) - entropies(share))
