"""Control: routing by the next id, which exposes leaks of the future."""

from dataclasses import replace

import torch
from torch import Tensor

from ._router import ROUTERS
from .blocks import require_ids
from .hash import Hash
from .routing import Items, Routing


@ROUTERS.register("oracle")
class Oracle(Hash):
    """Control to detect leaks: an item's expert is the hash of the next item's id.

    ``e_i = table[id_{i + 1}]`` with weight 1, for the next unpadded item of the group; the last
    item uses its id. If items are predicted from earlier ones, the selected expert reveals the
    answer: a causal task must reject this router, and a task that does not declare itself causal,
    but on which this router is far better than ``hash``, leaks the future.

    Source: the future-token oracle of Roller et al. 2021, 2106.04426, table 3. Options are those
    of ``hash`` for a table of own ids.

    Args:
        dim: ``D``, unused.

    >>> ids = torch.tensor([5, 7, 9])
    >>> x = torch.zeros(3, 4)
    >>> oracle, plain = Oracle(4, 8)(Items(x, ids=ids)), Hash(4, 8)(Items(x, ids=ids))
    >>> oracle.expert[:2].tolist() == plain.expert[1:].tolist()
    True
    """

    traits = replace(Hash.traits, per_item=False, causal=False, equivariant=False)

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 1,
        table: str = "random",
        buckets: int = 65536,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_experts, k=k, table=table, buckets=buckets, seed=seed)

    def forward(self, items: Items) -> Routing:
        content = require_ids(items, "oracle")
        following = _next_real(items.grouped(items.real()))
        ids = items.grouped(content).gather(1, following).flatten()
        return super().forward(replace(items, ids=ids))


def _next_real(real: Tensor) -> Tensor:
    """Index of each item's next unpadded item in its group, ``(G, L)``; itself for the last."""
    length = real.shape[1]
    place = torch.arange(length, device=real.device).expand_as(real)
    after = place.where(real, length).roll(-1, 1)
    after[:, -1:] = length
    nearest = after.flip(1).cummin(1).values.flip(1)
    return nearest.where(nearest < length, place)
