"""Divergence from a prior and size of random choices, of ``dirichlet``."""

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES, mean_or_zero


@LOSSES.register("divergence")
def divergence(routing: Routing) -> Tensor:
    """Mean KL divergence of an item's distribution of shares from the prior; 0 at best.

    Source: DirMoE, 2602.09001.

    >>> from routers import Items
    >>> extras = {"divergence": torch.tensor([1.0, 3.0])}
    >>> routing = Routing.by_mask(Items(torch.zeros(2, 1)), torch.ones(2, 2), extras=extras)
    >>> divergence(routing).item()
    2.0
    """
    return _of_items(routing, "divergence", "divergence")


@LOSSES.register("cardinality")
def cardinality(routing: Routing) -> Tensor:
    """``mean_i (sum_e z_ie - k)^2``: keeps the number of experts of an item near ``k``.

    Source: DirMoE, 2602.09001.

    >>> from routers import Items
    >>> extras = {"surplus": torch.tensor([1.0, -3.0])}
    >>> routing = Routing.by_mask(Items(torch.zeros(2, 1)), torch.ones(2, 2), extras=extras)
    >>> cardinality(routing).item()
    5.0
    """
    return _of_items(routing, "surplus", "cardinality", power=2)


def _of_items(routing: Routing, extra: str, loss: str, power: int = 1) -> Tensor:
    """Mean over real items of a power of ``extras[extra]``, summed over gates."""
    gates = [gate for gate in routing.gates or (routing,) if extra in gate.extras]
    if not gates:
        raise ConfigError(
            f"losses.{loss}: this router draws no shares; use losses.switch, or router=dirichlet"
        )
    found = [mean_or_zero(gate.unpadded(gate.extras[extra]) ** power) for gate in gates]
    return torch.stack(found).sum()
