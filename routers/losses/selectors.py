"""Sharpness and reach of the selectors of ``dselect_k``."""

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES, entropies

#: Mass below which the tangent continues its inverse: finite, with a slope everywhere.
_SMALL_MASS = 1e-2


@LOSSES.register("selector_entropy")
def selector_entropy(routing: Routing) -> Tensor:
    """Mean entropy of an item's selectors in nats, summed over them; 0 at best.

    At 0 each selector has settled on one expert. Source: DSelect-k, 2106.03760.

    >>> from routers import Items
    >>> even = torch.full((1, 1, 2), 0.5)
    >>> items, extras = Items(torch.zeros(1, 1)), {"selectors": even}
    >>> routing = Routing.by_mask(items, even[:, 0], extras=extras)
    >>> round(selector_entropy(routing).item(), 4)
    0.6931
    """
    found = _selectors(routing, "selector_entropy")
    return torch.stack([_item_mean(entropies(each)) for each in found]).sum()


@LOSSES.register("selector_reach")
def selector_reach(routing: Routing) -> Tensor:
    """``mean_i sum_s (1 / sum_e r_ise - 1)``: keeps selectors on codes that have an expert.

    There are more codes than experts unless ``E`` is a power of two. Source: DSelect-k,
    2106.03760; less 1 here, so that it is 0 at best, and below a mass of 0.01 the inverse is
    continued by its tangent, up to 199.

    >>> from routers import Items
    >>> far = torch.tensor([[[0.5, 0.25]], [[0.0, 0.005]]])
    >>> items, extras = Items(torch.zeros(2, 1)), {"selectors": far}
    >>> routing = Routing.by_mask(items, far.squeeze(1), extras=extras)
    >>> round(selector_reach(routing).item(), 4)  # the mean of 4 / 3 and 150, less 1
    74.6667
    """
    found = [_inverse(each.sum(-1)) for each in _selectors(routing, "selector_reach")]
    return torch.stack([_item_mean(inverse - 1) for inverse in found]).sum()


def _selectors(routing: Routing, loss: str) -> list[Tensor]:
    """Selectors of each gate over real items, ``(N, S, E)`` each."""
    gates = [gate for gate in routing.gates or (routing,) if "selectors" in gate.extras]
    found = [gate.unpadded(gate.extras["selectors"]) for gate in gates]
    if not found:
        raise ConfigError(
            f"losses.{loss}: this router has no selectors; use losses.entropy, or router=dselect_k"
        )
    return found


def _item_mean(values: Tensor) -> Tensor:
    """Mean over items of the sum over selectors of ``values`` ``(N, S)``; 0 without items."""
    return values.sum() / max(len(values), 1)


def _inverse(mass: Tensor) -> Tensor:
    tangent = (2 - mass / _SMALL_MASS) / _SMALL_MASS
    return torch.where(mass < _SMALL_MASS, tangent, 1 / mass.clamp_min(_SMALL_MASS))
