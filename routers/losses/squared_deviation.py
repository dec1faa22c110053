"""Distance of the mean gate from the uniform distribution."""

from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, mean_or_zero
from ._statistics import Level, expert_statistics


@LOSSES.register("squared_deviation")
def squared_deviation(routing: Routing, level: Level = "batch") -> Tensor:
    """``sum_e (1/E - mean_i G(x_i)_e)^2`` of the gate's distribution; 0 at best.

    >>> import torch
    >>> from routers import Items
    >>> items, probs = Items(torch.zeros(1, 1)), torch.tensor([[0.75, 0.25]])
    >>> routing = Routing.by_item(items, torch.tensor([[0]]), torch.ones(1, 1), 2, probs=probs)
    >>> squared_deviation(routing).item()
    0.125
    """
    probs = expert_statistics(routing, level).probs
    return mean_or_zero((probs - 1 / routing.num_experts).square().sum(-1))
