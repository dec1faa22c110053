"""Mass of selectors outside the experts."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES
from ._gates import item_mean, selectors

#: Mass below which the tangent continues its inverse: finite, with a slope everywhere.
_SMALL_MASS = 1e-2


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
    found = [_inverse(each.sum(-1)) for each in selectors(routing, "selector_reach")]
    return torch.stack([item_mean(inverse - 1) for inverse in found]).sum()


def _inverse(mass: Tensor) -> Tensor:
    tangent = (2 - mass / _SMALL_MASS) / _SMALL_MASS
    return torch.where(mass < _SMALL_MASS, tangent, 1 / mass.clamp_min(_SMALL_MASS))
