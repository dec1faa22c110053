"""Variation of the expected load."""

from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES, cv_squared, mean_or_zero
from ._statistics import BatchLevel, expert_statistics


@LOSSES.register("load")
def load(routing: Routing, level: BatchLevel = "batch") -> Tensor:
    """``CV^2`` of the expected load (Shazeer et al. 2017, equations 10 and 11); 0 at best.

    It has no level ``sequence``: routers estimate the load of a batch, not that of a group.

    >>> import torch
    >>> from routers import Items
    >>> items, expected = Items(torch.zeros(1, 1)), torch.tensor([1.0, 3.0])
    >>> routing = Routing.by_item(
    ...     items, torch.tensor([[0]]), torch.ones(1, 1), 2, expected_load=expected
    ... )
    >>> round(load(routing).item(), 4)
    0.25
    """
    expected = expert_statistics(routing, level).expected_load
    if expected is None:
        raise ConfigError(
            f"losses.load: the routings of this router have no expected load per {level}; "
            "use losses.switch, or a router with the trait expects_load such as noisy_topk"
        )
    return mean_or_zero(cv_squared(expected))
