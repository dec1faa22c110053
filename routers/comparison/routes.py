"""Routes of the items of one layer as arrays: experts and weights, before and after drops."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, issparse
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing import Routing, Slots

#: ``(N, E)``: a NumPy array, or a sparse array of SciPy.
Matrix = Any


@dataclass(frozen=True, eq=False)
class Routes:
    """The experts of ``N`` items in one layer, and their weights for ``T`` tasks.

    Items that are padding are left out. Through slots an item has all experts, each with the
    weight of its slots in the item's output; so it has all of merged experts.

    Attributes:
        num_experts: ``E``.
        offsets: ``(N + 1,)`` int64; the assignments of item ``n`` are those from ``offsets[n]`` to
            ``offsets[n + 1]``, in the order of the routing.
        experts: ``(A,)`` int32.
        weights: ``(A, T)`` float32; of a dropped assignment its weight before drops.
        kept: ``(A,)`` bool, False for assignments that were dropped.

    >>> import torch
    >>> from routers import Items, Routing
    >>> expert = torch.tensor([[0, 1], [0, 2], [0, 1]])
    >>> routing = Routing.by_item(Items(torch.zeros(3, 1)), expert, torch.full((3, 2), 0.5), 3)
    >>> routes = Routes.of(routing.limit(1.0))  # two rows for each expert
    >>> routes.experts.tolist(), routes.kept.tolist()
    ([0, 1, 0, 2, 0, 1], [True, True, True, True, False, True])
    """

    num_experts: int
    offsets: NDArray[np.int64]
    experts: NDArray[np.int32]
    weights: NDArray[np.float32]
    kept: NDArray[np.bool_]

    @classmethod
    def of(cls, *routings: Routing) -> "Routes":
        """The routes of all real items of some routings, one after another."""
        return cls.concatenate([_routes_of(routing) for routing in routings])

    @classmethod
    def concatenate(cls, parts: Sequence["Routes"]) -> "Routes":
        """The items of all parts; ``ConfigError`` if these differ in experts or tasks."""
        kinds = {(part.num_experts, part.weights.shape[1]) for part in parts}
        if len(kinds) != 1:
            raise ConfigError(f"routes of one layer expected, not with experts and tasks {kinds}")
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            parts[0].num_experts,
            _offsets(counts),
            np.concatenate([part.experts for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([part.kept for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def item(self) -> NDArray[np.int64]:
        """The item of each assignment, ``(A,)``."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def assigned(self) -> Matrix:
        """``(N, E)`` sparse, 1 where the expert worked on the item."""
        return indicator(self._matrix(np.ones(len(self.experts)), self.kept))

    @cached_property
    def requested(self) -> Matrix:
        """``(N, E)`` sparse, the same before drops."""
        return indicator(self._matrix(np.ones(len(self.experts)), np.ones_like(self.kept)))

    @cached_property
    def mass(self) -> Matrix:
        """``(N, E)`` sparse, the weight of the expert for the item, a sum over tasks."""
        return self._matrix(self.weights.sum(1, dtype=np.float64), self.kept)

    @cached_property
    def chosen(self) -> Matrix:
        """``assigned``; the heaviest expert of each item where every item has all experts.

        >>> import torch
        >>> from routers import Items, Routing
        >>> soft = Routing.by_mask(Items(torch.zeros(2, 1)), torch.tensor([[0.2, 0.8], [0.6, 0.4]]))
        >>> Routes.of(soft).chosen.toarray().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        """
        n, e = self.assigned.shape
        if not n or self.assigned.nnz < n * e:
            return self.assigned
        heaviest = self.mass.toarray().argmax(1)
        return csr_array((np.ones(n), heaviest, np.arange(n + 1)), shape=(n, e))

    @property
    def dropped(self) -> float:
        """Fraction of the assignments that were dropped."""
        return float(1 - self.kept.mean()) if len(self.kept) else 0.0

    @property
    def unrouted(self) -> float:
        """Fraction of the items that no expert worked on."""
        return float((self.assigned.sum(1) == 0).mean()) if len(self) else 0.0

    def _matrix(self, values: NDArray[np.float64], where: NDArray[np.bool_]) -> Matrix:
        """Sums of ``values`` ``(A,)`` by item and expert."""
        shape = (len(self), self.num_experts)
        cells = self.item[where], self.experts[where]
        return coo_array((values[where], cells), shape=shape).tocsr()


def indicator(routes: Matrix) -> Matrix:
    """``(N, E)`` as a sparse array with 1 for every entry that ``routes`` holds, float64.

    Entries of a sparse array count even if they are 0: an expert may have the weight 0.
    """
    given = routes if issparse(routes) else np.asarray(routes)
    if given.ndim != 2:
        raise ConfigError(f"routes have shape {given.shape}: expected (N, E)")
    found = csr_array(given, copy=True)
    found.sum_duplicates()
    return csr_array((np.ones(found.nnz), found.indices, found.indptr), shape=found.shape)


def same_items(one: Matrix, other: Matrix) -> tuple[Matrix, Matrix]:
    """Both indicators; ``ConfigError`` unless they are of equally many items."""
    left, right = indicator(one), indicator(other)
    if left.shape[0] != right.shape[0]:
        raise ConfigError(
            f"routes of {left.shape[0]} and of {right.shape[0]} items cannot be compared: record "
            "both on the same items"
        )
    return left, right


def _routes_of(routing: Routing) -> Routes:
    if isinstance(routing.execution, Slots):
        item, expert, weight = _through_slots(routing.execution, routing.num_experts)
        kept = np.ones(len(item), dtype=np.bool_)
    else:
        item, expert, weight, kept = _assignments(routing)
    real = np.ones(routing.num_items, dtype=np.bool_)
    if routing.mask is not None:
        real = _numpy(routing.mask)
        stays = real[item]  # slots have weights at padding
        item, expert, weight, kept = item[stays], expert[stays], weight[stays], kept[stays]
    counts = np.bincount(item, minlength=routing.num_items)[real]
    order = np.argsort(item, kind="stable")
    return Routes(
        routing.num_experts,
        _offsets(counts),
        expert[order].astype(np.int32),
        weight[order].astype(np.float32),
        kept[order],
    )


def _through_slots(
    slots: Slots, num_experts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Item, expert and weight of every pair; slots are split among the experts in order."""
    combine = slots.combine.detach().double()
    combine = combine.reshape(-1, *slots.dispatch.shape).flatten(1, 2)  # (T, N, S)
    mass = combine.reshape(*combine.shape[:2], num_experts, -1).sum(-1)  # (T, N, E)
    tasks, n, e = mass.shape
    weight = _numpy(mass.permute(1, 2, 0).reshape(n * e, tasks))
    return np.repeat(np.arange(n), e), np.tile(np.arange(e), n), weight


def _assignments(
    routing: Routing,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Item, expert, weight and whether it was kept, of every assignment before drops."""
    before = routing if routing.before is None else routing.before
    item, expert = _numpy(before.item), _numpy(before.expert)
    weight = _numpy(_by_task(before)).copy()
    kept = np.ones(len(item), dtype=np.bool_)
    if routing.before is not None:
        stayed = _numpy(routing.item), _numpy(routing.expert)
        place = _places((item, expert), stayed, routing.num_experts)
        kept[:] = False
        kept[place] = True
        weight[place] = _numpy(_by_task(routing))
    return item, expert, weight, kept


def _by_task(routing: Routing) -> Tensor:
    """Weights ``(A, T)``, float64."""
    return routing.weight.double().unsqueeze(-1).flatten(1)


def _places(
    before: tuple[NDArray[np.int64], NDArray[np.int64]],
    after: tuple[NDArray[np.int64], NDArray[np.int64]],
    num_experts: int,
) -> NDArray[np.int64]:
    """For each assignment after drops its place before; equal ones take places in order."""
    old, new = (item * num_experts + expert for item, expert in (before, after))
    old_order, new_order = np.argsort(old, kind="stable"), np.argsort(new, kind="stable")
    old, new = old[old_order], new[new_order]
    repeat = np.arange(len(new)) - np.searchsorted(new, new)
    place = np.empty(len(new), dtype=np.int64)
    place[new_order] = old_order[np.searchsorted(old, new) + repeat]
    return place


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _numpy(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.detach().cpu().numpy()
    return found
