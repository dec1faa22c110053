"""Variation of the gate mass per expert."""

from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, cv_squared, mean_or_zero
from ._statistics import Level, expert_statistics


@LOSSES.register("importance")
def importance(routing: Routing, level: Level = "batch") -> Tensor:
    """``CV^2`` of the gate mass per expert (Shazeer et al. 2017, equations 6 and 7); 0 at best.

    >>> import torch
    >>> from routers import Items
    >>> items = Items(torch.zeros(4, 1))
    >>> expert = torch.tensor([[0], [1], [1], [1]])
    >>> round(importance(Routing.by_item(items, expert, torch.ones(4, 1), 2)).item(), 4)
    0.25
    """
    return mean_or_zero(cv_squared(expert_statistics(routing, level).importance))
