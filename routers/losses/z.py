"""Size of the router's logits."""

from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES, mean_or_zero


@LOSSES.register("z")
def router_z(routing: Routing) -> Tensor:
    """``mean_i logsumexp(h_i)^2`` (ST-MoE 2202.08906, equation 5): keeps logits small.

    The mean over gates or heads, where there are several.

    >>> import torch
    >>> from routers import Items
    >>> items, logits = Items(torch.zeros(1, 1)), torch.zeros(1, 2)
    >>> routing = Routing.by_item(items, torch.tensor([[0]]), torch.ones(1, 1), 2, logits=logits)
    >>> round(router_z(routing).item(), 4)  # (log 2)^2
    0.4805
    """
    if routing.log_partition is None:
        raise ConfigError(
            "losses.z: this router has no logits to keep small; remove losses.z, "
            "or choose a router with the trait has_logits"
        )
    square = routing.unpadded(routing.log_partition).square()
    return mean_or_zero(square if square.dim() == 1 else square.mean(1))
