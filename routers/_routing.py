"""Routing: a weighted graph from items to experts."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ._blend import Blend
from ._items import Items
from ._limit import keep_within
from ._order import stable_order


@dataclass(frozen=True, eq=False)
class Routing:
    """Which item goes to which expert, and with what weight.

    Losses, metrics and FLOPs are read from it; the engine executes it. Build one with
    ``by_item``, ``by_expert``, ``by_mask`` or ``by_slot``.

    Attributes:
        item: ``(A,)`` int64, the item of each assignment. With a ``blend`` the slot.
        expert: ``(A,)`` int64, the expert of each assignment.
        weight: ``(A,)`` what the expert's output counts for, or ``(A, T)`` for ``T`` tasks.
        num_items: ``N``, padding included.
        num_experts: ``E``.
        groups: how many equal contiguous groups the items form.
        mask: ``(N,)`` bool, False for padding; None where all items are real.
        logits: ``(N, E)`` scores before normalisation, where the router has them.
        given_probs: ``(N, E)`` gate distribution, where it is not the softmax of ``logits``.
        given_log_partition: ``(N, G)`` logsumexp of each of several gates' scores.
        expected_load: ``(E,)`` differentiable estimate of the load, where the router has one.
        blend: items to slots and back, for soft routers.
        fan_out: ``K`` where the assignments lie as ``(N, K)``, item by item.
        fan_in: ``C`` where they lie as ``(E, C)``, expert by expert.
        complete: every item goes to every expert, and each expert has them in order.
        requested: ``(E,)`` int64, the load before anything was dropped, where it differs.
        given_importance: ``(E,)`` gate mass before anything was dropped, where it differs.

    >>> items = Items(torch.zeros(3, 4))
    >>> routing = Routing.by_item(
    ...     items, torch.tensor([[0], [2], [2]]), torch.ones(3, 1), num_experts=4
    ... )
    >>> routing.load.tolist()
    [1, 0, 2, 0]
    """

    item: Tensor
    expert: Tensor
    weight: Tensor
    num_items: int
    num_experts: int
    groups: int = 1
    mask: Tensor | None = None
    logits: Tensor | None = None
    given_probs: Tensor | None = None
    given_log_partition: Tensor | None = None
    expected_load: Tensor | None = None
    blend: Blend | None = None
    fan_out: int | None = None
    fan_in: int | None = None
    complete: bool = False
    requested: Tensor | None = None
    given_importance: Tensor | None = None

    # ---- constructors ----

    @classmethod
    def by_item(
        cls, items: Items, expert: Tensor, weight: Tensor, num_experts: int, **extra: Any
    ) -> "Routing":
        """Token choice: each item names its experts.

        Args:
            items: what was routed.
            expert: ``(N, K)`` int64.
            weight: ``(N, K)``, or ``(N, K, T)`` for ``T`` tasks.
            num_experts: ``E``.
            extra: ``logits``, ``probs``, ``expected_load`` as in the class.
        """
        n, k = expert.shape
        item = torch.arange(n, device=expert.device).unsqueeze(1).expand(n, k).reshape(-1)
        routing = cls._of(
            items, item, expert.flatten(), weight.flatten(0, 1), num_experts, fan_out=k, **extra
        )
        return routing if items.mask is None else routing._only(items.mask[item])

    @classmethod
    def by_expert(
        cls,
        items: Items,
        item: Tensor,
        weight: Tensor,
        *,
        keep: Tensor | None = None,
        **extra: Any,
    ) -> "Routing":
        """Expert choice: each expert names its items.

        Args:
            items: what was routed.
            item: ``(E, C)`` int64.
            weight: ``(E, C)``.
            keep: ``(E, C)`` bool, False for places left empty; None where all are filled.
            extra: ``logits``, ``probs``, ``expected_load`` as in the class.
        """
        e, c = item.shape
        expert = torch.arange(e, device=item.device).repeat_interleave(c)
        routing = cls._of(items, item.flatten(), expert, weight.flatten(0, 1), e, fan_in=c, **extra)
        if items.mask is not None:
            real = items.mask[item]
            keep = real if keep is None else keep & real
        return routing if keep is None else routing._only(keep.flatten())

    @classmethod
    def by_mask(
        cls, items: Items, weight: Tensor, keep: Tensor | None = None, **extra: Any
    ) -> "Routing":
        """Thresholds and dense mixtures: any subset of the ``(N, E)`` pairs.

        Args:
            items: what was routed.
            weight: ``(N, E)``.
            keep: ``(N, E)`` bool, the pairs that exist; None for all of them.
            extra: ``logits``, ``probs``, ``expected_load`` as in the class.
        """
        n, e = weight.shape
        item = torch.arange(n, device=weight.device).expand(e, n)
        keep = None if keep is None else keep.t()
        return cls.by_expert(items, item, weight.t(), keep=keep, complete=True, **extra)

    @classmethod
    def by_slot(
        cls, items: Items, dispatch: Tensor, combine: Tensor, num_experts: int, **extra: Any
    ) -> "Routing":
        """Soft routing: experts work on slots, each a weighted mean of a group's items.

        Args:
            items: what was routed.
            dispatch: ``(G, L, S)``, what each item gives to each slot.
            combine: ``(G, L, S)``, what each item takes back from each slot; or
                ``(T, G, L, S)`` for ``T`` tasks, with ``probs`` in ``extra``.
            num_experts: ``E``; the ``S`` slots are split among them in order.
            extra: ``logits`` or ``probs`` as in the class, in ``(N, E)``.
        """
        groups, _, slots = dispatch.shape
        per = slots // num_experts
        slot = torch.arange(groups * slots, device=dispatch.device)
        slot = slot.view(groups, num_experts, per).transpose(0, 1).reshape(num_experts, -1)
        mass = combine.reshape(-1, num_experts, per).sum(-1)
        extra.setdefault("probs", mass)
        return cls._of(
            items,
            slot.flatten(),
            torch.arange(num_experts, device=slot.device).repeat_interleave(groups * per),
            torch.ones_like(slot.flatten(), dtype=combine.dtype),
            num_experts,
            blend=Blend(dispatch, combine),
            fan_in=groups * per,
            **extra,
        )

    @classmethod
    def _of(
        cls,
        items: Items,
        item: Tensor,
        expert: Tensor,
        weight: Tensor,
        num_experts: int,
        probs: Tensor | None = None,
        **extra: Any,
    ) -> "Routing":
        return cls(
            item,
            expert,
            weight,
            len(items),
            num_experts,
            groups=items.groups,
            mask=items.mask,
            given_probs=probs,
            **extra,
        )

    # ---- what can be read from it ----

    @property
    def num_assignments(self) -> int:
        """``A``."""
        return self.item.shape[0]

    @cached_property
    def num_real(self) -> Tensor:
        """How many items are not padding, a scalar."""
        if self.mask is None:
            return torch.tensor(self.num_items, device=self.item.device)
        return self.mask.sum()

    @cached_property
    def load(self) -> Tensor:
        """Rows each expert computes, ``(E,)`` int64."""
        return torch.bincount(self.expert, minlength=self.num_experts)

    @cached_property
    def order(self) -> Tensor:
        """The permutation that sorts the assignments by expert, ``(A,)``; the engine's plan."""
        if self.fan_in is not None:
            return torch.arange(self.num_assignments, device=self.expert.device)
        return stable_order(self.expert, self.num_experts)

    @property
    def demand(self) -> Tensor:
        """Rows each expert was asked to compute, before drops, ``(E,)`` int64."""
        return self.load if self.requested is None else self.requested

    @cached_property
    def importance(self) -> Tensor:
        """Gate mass each expert gets, before drops, ``(E,)``; Shazeer et al. 2017, equation 6."""
        if self.given_importance is not None:
            return self.given_importance
        if self.blend is not None:
            return self.over_real(self.probs).sum(0)
        mass = self.weight.unsqueeze(-1).flatten(1).sum(1)
        return mass.new_zeros(self.num_experts).index_add(0, self.expert, mass)

    @cached_property
    def probs(self) -> Tensor:
        """The gate's distribution, ``(N, E)``; the weights themselves where it has none."""
        if self.given_probs is not None:
            return self.given_probs
        if self.logits is not None:
            return self.logits.softmax(-1)
        mass = self.weight.unsqueeze(-1).flatten(1).mean(1)
        flat = mass.new_zeros(self.num_items * self.num_experts)
        cell = self.item * self.num_experts + self.expert
        return flat.index_add(0, cell, mass).view(self.num_items, self.num_experts)

    @cached_property
    def log_partition(self) -> Tensor | None:
        """logsumexp of the scores, ``(N,)`` or ``(N, G)`` for ``G`` gates; None without scores."""
        if self.logits is None:
            return self.given_log_partition
        return self.logits.logsumexp(-1)

    @cached_property
    def chosen(self) -> Tensor:
        """Which expert reaches which item, ``(N, E)`` bool; all of them through a blend."""
        shape = (self.num_items, self.num_experts)
        if self.blend is not None:
            real = self.mask if self.mask is not None else self.item.new_ones(shape[0]).bool()
            return real.unsqueeze(1).expand(shape)
        grid = torch.zeros(shape, dtype=torch.bool, device=self.item.device)
        grid[self.item, self.expert] = True
        return grid

    def over_real(self, values: Tensor) -> Tensor:
        """``values`` of shape ``(N, ...)`` with the rows of padding removed."""
        return values if self.mask is None else values[self.mask]

    # ---- dropping ----

    def limit(
        self,
        factor: float,
        order: str = "position",
        *,
        renormalize: bool = False,
        generator: torch.Generator | None = None,
    ) -> "Routing":
        """Drop assignments so that no expert takes more than its capacity from a group.

        The capacity is ``ceil(factor * A_g / E)`` for the ``A_g`` assignments of real items
        in group ``g`` (that is ``ceil(factor * K * n_g / E)`` for top-K); libraries differ in
        this rounding. Slots of a blend are balanced already and are left alone.

        Args:
            factor: capacity relative to an even load, above 0.
            order: who stays: a name in ``DROP_ORDERS``.
            renormalize: scale the remaining weights of an item back to their sum before.
            generator: what the ``random`` order draws from; None draws the same every time.

        >>> items = Items(torch.zeros(4, 1))
        >>> routing = Routing.by_item(
        ...     items, torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1), num_experts=2
        ... )
        >>> routing.limit(1.0).item.tolist()
        [0, 1]
        """
        if self.blend is not None:
            return self
        return self.drop(keep_within(self, factor, order, generator), renormalize=renormalize)

    def drop(self, keep: Tensor, *, renormalize: bool = False) -> "Routing":
        """The routing with only the assignments where ``keep``, ``(A,)`` bool, is True."""
        kept = self._only(keep)
        if renormalize:
            shape = (self.num_items, *self.weight.shape[1:])
            before = self.weight.new_zeros(shape).index_add(0, self.item, self.weight)
            after = self.weight.new_zeros(shape).index_add(0, kept.item, kept.weight)
            some = after > 0  # an item left with weights of zero stays at zero
            scale = torch.where(some, before / torch.where(some, after, 1.0), 1.0)
            kept = replace(kept, weight=kept.weight * scale[kept.item])
        return replace(
            kept,
            requested=self.demand,
            given_importance=self.importance,
            given_probs=self.probs if self.logits is None else self.given_probs,
        )

    def _only(self, keep: Tensor) -> "Routing":
        """The assignments where ``keep``, ``(A,)`` bool, is True, as if no other had been."""
        return replace(
            self,
            item=self.item[keep],
            expert=self.expert[keep],
            weight=self.weight[keep],
            fan_out=None,
            fan_in=None,
            complete=False,
        )
