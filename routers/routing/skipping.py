"""Assignments with so little weight that evaluation can do without them."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..plugins.errors import OptionError, nearest_name


class Weighted(Protocol):
    """The fields of a ``Routing`` that say how much its items need each assignment."""

    @property
    def item(self) -> Tensor: ...
    @property
    def weight(self) -> Tensor: ...
    @property
    def num_items(self) -> int: ...
    @property
    def item_order(self) -> tuple[Tensor | None, Tensor]: ...


def weight(sizes: Tensor, share: float) -> Tensor:
    """Weights of at least ``share`` times the largest of their item.

    Source: the dynamic skipping of Lu et al. 2024, 2402.14800, for any number of experts.
    """
    return ~(sizes < share * sizes.amax(-1, keepdim=True))  # NaN stays, so that it is seen


def mass(sizes: Tensor, share: float) -> Tensor:
    """The fewest of the largest weights that sum to ``share`` of those of their item.

    Source: the selection of Huang et al. 2024, 2403.07652, section 3, for weights of any router.
    """
    ordered, order = sizes.sort(dim=-1, descending=True, stable=True)
    sums = ordered.cumsum(-1)
    enough = F.pad(sums[..., :-1], (1, 0)) >= share * sums[..., -1:]
    enough[..., :1] = False  # an item keeps one, also if all are 0
    return ~enough.scatter(-1, order, enough)


#: Rules by name. They take sizes of weights, ``(..., K)`` float64 with the weights of an item in
#: a row and zeros after them, and a share, and return which are needed, bool.
SKIP_RULES: dict[str, Callable[[Tensor, float], Tensor]] = {
    rule.__name__: rule for rule in (weight, mass)
}


def check_skip(rules: Mapping[str, float] | None) -> None:
    """Raise ``OptionError`` about a rule that is unknown, or whose share is not in (0, 1]."""
    for name, share in (rules or {}).items():
        if name not in SKIP_RULES:
            raise OptionError.about(name, f": {nearest_name(name, SKIP_RULES)}")
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not 0 < share <= 1:
            raise OptionError(name, share, "a number in (0, 1]")


def needed(routing: Weighted, rules: Mapping[str, float]) -> Tensor:
    """Select the assignments that all rules keep, ``(A,)`` bool.

    Negative weights count by their size. With weights for several tasks, an assignment stays if
    any task needs it.
    """
    count = routing.item.shape[0]
    keep = torch.ones(count, dtype=torch.bool, device=routing.item.device)
    if not count:
        return keep
    order, first = routing.item_order
    item = routing.item if order is None else routing.item[order]
    rank = torch.arange(count, device=item.device) - first[item]
    sizes = routing.weight.detach().double().abs().view(count, -1).t()
    rows = sizes.new_zeros(len(sizes), routing.num_items, int(rank.max()) + 1)
    rows[:, item, rank] = sizes if order is None else sizes[:, order]
    for name, share in rules.items():
        kept = SKIP_RULES[name](rows, share)[:, item, rank].any(0)
        keep &= kept if order is None else torch.empty_like(kept).index_copy(0, order, kept)
    return keep
