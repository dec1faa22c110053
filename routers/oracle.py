"""Control: routes by what comes next, so that a leak shows."""

from dataclasses import replace

import torch
from torch import Tensor

from ._router import ROUTERS
from .blocks import require_ids
from .hash import Hash
from .routing import Items, Routing


@ROUTERS.register("oracle")
class Oracle(Hash):
    """Control, a leak alarm: an item's expert is the hash of the id that comes next.

    ``e_i = table[id_{i + 1}]`` with weight 1, of the next real item of the group; the last one
    goes by its own id. Where items are to be predicted from earlier ones, the choice of expert
    gives the answer away: a task that calls itself causal must refuse this router, and one that
    does not, but on which it does far better than ``hash``, lets the future through.

    Source: the future-token oracle of Roller et al. 2021, 2106.04426, table 3.

    Args:
        dim: ``D``, not used.
        num_experts: ``E``.
        table: how the table is made, as for ``hash``.
        buckets: size of the table; ids are taken modulo this.
        seed: of the table.

    >>> ids = torch.tensor([5, 7, 9])
    >>> x = torch.zeros(3, 4)
    >>> oracle, plain = Oracle(4, 8)(Items(x, ids=ids)), Hash(4, 8)(Items(x, ids=ids))
    >>> oracle.expert[:2].tolist() == plain.expert[1:].tolist()
    True
    """

    traits = replace(Hash.traits, per_item=False, causal=False, equivariant=False)

    def forward(self, items: Items) -> Routing:
        content = require_ids(items, "oracle")
        following = _next_real(items.grouped(items.real()))
        ids = items.grouped(content).gather(1, following).flatten()
        return super().forward(replace(items, ids=ids))


def _next_real(real: Tensor) -> Tensor:
    """Place of the next real item of each group's items, its own for the last, ``(G, L)``."""
    length = real.shape[1]
    place = torch.arange(length, device=real.device).expand_as(real)
    after = place.where(real, length).roll(-1, 1)
    after[:, -1:] = length
    nearest = after.flip(1).cummin(1).values.flip(1)
    return nearest.where(nearest < length, place)
