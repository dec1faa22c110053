"""Load-balance loss: load times probability, summed over experts."""

from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, mean_or_zero
from ._statistics import Level, expert_statistics


@LOSSES.register("switch")
def switch(routing: Routing, level: Level = "batch") -> Tensor:
    """``E sum_e f_e P_e`` (Switch 2101.03961, equation 4); 1 at balance.

    ``f`` is the fraction of all assignments, every choice counted and before any drop; ``P``
    is the mean probability over real items. Level ``sequence`` is DeepSeek-V3's (2412.19437,
    equations 17 to 20). Level ``step`` takes ``f`` of the step so far and ``P`` of the batch
    (2501.11873): a sequence on one subject may then use few experts, while the step uses all.

    >>> import torch
    >>> from routers import Items
    >>> items, probs = Items(torch.zeros(2, 1), groups=2), torch.eye(2)
    >>> apart = Routing.by_item(items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2, probs=probs)
    >>> switch(apart).item(), switch(apart, level="sequence").item()
    (1.0, 2.0)
    """
    statistics = expert_statistics(routing, level)
    products = statistics.requested_load * statistics.batch_probs
    return mean_or_zero(routing.num_experts * products.sum(-1))
