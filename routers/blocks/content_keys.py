"""Integers that a table is looked up by: an item's own id, ids before it, or its place."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..routing import Items
from .required_inputs import require_ids

#: Odd, so that different ids have different products, modulo 2 to the power of 64.
_FACTOR = 2_654_435_761


def place_in_group(items: Items, router: str) -> Tensor:
    """The number of unpadded items of its group before each item, ``(N,)``; -1 for none."""
    return items.grouped(items.real().long()).cumsum(1).flatten() - 1


def previous_ids(items: Items, router: str) -> Tensor:
    """The id of the unpadded item before each item in its group, ``(N,)``; the first has its own.

    >>> ids = torch.tensor([5, 7, 9])
    >>> previous_ids(Items(torch.zeros(3, 1), ids=ids), "hash").tolist()
    [5, 5, 7]
    """
    ids = items.grouped(require_ids(items, router))
    real = items.grouped(items.real())
    place = torch.arange(real.shape[1], device=real.device).expand_as(real)
    latest = place.where(real, -1).cummax(1).values if real.shape[1] else place
    before = torch.cat([torch.full_like(place[:, :1], -1), latest[:, :-1]], 1)
    return ids.gather(1, torch.where(before < 0, place, before)).flatten()


def bigrams(items: Items, router: str) -> Tensor:
    """A mixture of the bits of the previous id and the own id, ``(N,)``."""
    mixed = (previous_ids(items, router) * _FACTOR) ^ require_ids(items, router)
    return mixed ^ (mixed >> 29)


@dataclass(frozen=True)
class ContentKey:
    """A way to look up a table.

    Attributes:
        of: ``(items, name of the router) -> (N,)`` integers.
        needs_ids: whether it reads ``Items.ids``.
        per_item: whether it depends on the item only.
        equivariant: whether it does not depend on the order of items.
        in_data: whether the ids of the training set are keys.
    """

    of: Callable[[Items, str], Tensor]
    needs_ids: bool = True
    per_item: bool = True
    equivariant: bool = True
    in_data: bool = True


#: By the value of the option ``by`` of ``hash``. None of them depends on later items.
CONTENT_KEYS = {
    "own": ContentKey(require_ids),
    "previous": ContentKey(previous_ids, per_item=False, equivariant=False),
    "bigram": ContentKey(bigrams, per_item=False, equivariant=False, in_data=False),
    "position": ContentKey(place_in_group, needs_ids=False, equivariant=False, in_data=False),
}
