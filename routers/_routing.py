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
from ._rule import Rule


@dataclass(frozen=True, eq=False)
class Routing:
    """Which item goes to which expert, and with what weight.

    Losses, metrics and FLOPs are read from it; the engine executes it. Build one with
    ``by_item``, ``by_expert``, ``by_mask``, ``by_slot`` or ``by_merge``.

    Where there are too many experts to score them all, ``logits`` and ``probs`` are of the
    ``S`` ``candidates`` of each item alone. Balance terms then take the probability of all
    others for 0, and nothing here but ``chosen`` builds ``(N, E)``.

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
        candidates: ``(N, S)`` int64, the experts that ``logits`` and ``probs`` are of; None
            where they are of all.
        merge: ``(M, E)``, where each of ``M`` equal contiguous parts of the items is worked on
            by one expert, whose parameters are means of all experts' with these weights; or
            ``(T, M, E)`` for ``T`` tasks.
        rule: how the outputs for an item make one, where it is not their weighted sum.
        fan_out: ``K`` where the assignments lie as ``(N, K)``, item by item.
        fan_in: ``C`` where they lie as ``(E, C)``, expert by expert.
        complete: every item goes to every expert, and each expert has them in order.
        budget: how many experts an item is meant to get, which capacities allow for; None
            where that is not known beforehand.
        requested: ``(E,)`` int64, the load before anything was dropped, where it differs.
        given_importance: ``(E,)`` gate mass before anything was dropped, where it differs.
        before: the routing from which assignments were dropped, where any were.
        step: ``(5, E)`` ``step_sums`` of all micro-steps and ranks so far, this batch included;
            None where nobody sums them.
        tally: ``(router.tally_size,)`` int64, counts that the router wants summed over a step
            and given back to ``adapt_to_tally``.
        price: what a unit of gate mass costs at the moment, a scalar without gradient; the
            ``sparsity`` losses read it.
        selectors: ``(N, S, E)`` what each of ``S`` selectors alone would weigh, which the
            ``selector`` losses read.
        gates: the routings of several gates that were joined; empty where there is one gate.

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
    candidates: Tensor | None = None
    merge: Tensor | None = None
    rule: Rule | None = None
    fan_out: int | None = None
    fan_in: int | None = None
    complete: bool = False
    budget: float | None = None
    requested: Tensor | None = None
    given_importance: Tensor | None = None
    before: "Routing | None" = None
    step: Tensor | None = None
    tally: Tensor | None = None
    price: Tensor | None = None
    selectors: Tensor | None = None
    gates: "tuple[Routing, ...]" = ()

    # ---- constructors ----

    @classmethod
    def by_item(
        cls,
        items: Items,
        expert: Tensor,
        weight: Tensor,
        num_experts: int,
        *,
        keep: Tensor | None = None,
        **extra: Any,
    ) -> "Routing":
        """Token choice: each item names its experts.

        Args:
            items: what was routed.
            expert: ``(N, K)`` int64.
            weight: ``(N, K)``, or ``(N, K, T)`` for ``T`` tasks.
            num_experts: ``E``.
            keep: ``(N, K)`` bool, False for choices that are none; None where all are.
            extra: ``logits``, ``probs``, ``expected_load``, ``candidates``, ``budget`` as in
                the class; the budget is ``K`` where all choices are kept.
        """
        n, k = expert.shape
        extra.setdefault("budget", float(k) if keep is None else None)
        item = torch.arange(n, device=expert.device).unsqueeze(1).expand(n, k).reshape(-1)
        routing = cls._of(
            items, item, expert.flatten(), weight.flatten(0, 1), num_experts, fan_out=k, **extra
        )
        if items.mask is not None:
            real = items.mask[item].view(n, k)
            keep = real if keep is None else keep & real
        return routing if keep is None else routing._only(keep.flatten())

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
        extra.setdefault("budget", float(e) if keep is None else None)
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
    def by_merge(cls, items: Items, weight: Tensor, **extra: Any) -> "Routing":
        """One expert for each part of the items, whose parameters are means of all experts'.

        As a graph every item goes to every expert with the weights of its part. The load is
        the gate mass in rows: a merged expert's rows count for each expert by its weight,
        rounded so that they add up to the real items.

        Args:
            items: what was routed.
            weight: ``(M, E)``, rows that sum to one, for ``M`` equal contiguous parts.
            extra: ``logits`` or ``probs`` as in the class, in ``(N, E)``.

        >>> items = Items(torch.zeros(4, 1))
        >>> Routing.by_merge(items, torch.tensor([[0.25, 0.75]])).load.tolist()
        [1, 3]
        """
        each = weight.repeat_interleave(len(items) // max(len(weight), 1), 0)
        return replace(cls.by_mask(items, each, **extra), merge=weight)

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
        if self.merge is not None:
            runs = self.merge.shape[0] if self.merge.dim() > 2 else 1
            return _in_whole_rows(self.importance, self.num_real * runs)
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
        """The gate's distribution, ``(N, E)``; the weights themselves where it has none.

        Of the candidates alone, ``(N, S)``, where there are any.
        """
        if self.given_probs is not None:
            return self.given_probs
        if self.logits is not None:
            return self.logits.softmax(-1)
        mass = self.weight.unsqueeze(-1).flatten(1).mean(1)
        flat = mass.new_zeros(self.num_items * self.num_experts)
        cell = self.item * self.num_experts + self.expert
        return flat.index_add(0, cell, mass).view(self.num_items, self.num_experts)

    @cached_property
    def prob_sums(self) -> Tensor:
        """Sums of ``probs`` over the real items, ``(E,)``, also where they are of candidates."""
        if self.candidates is None:
            return self.over_real(self.probs).sum(0)
        probs, expert = self.over_real(self.probs), self.over_real(self.candidates)
        return _scattered(expert.flatten(), probs.flatten(), self.num_experts)

    @cached_property
    def prob_sums_by_group(self) -> Tensor:
        """The same for the items of each group, ``(G, E)``."""
        probs = self.probs if self.mask is None else self.probs.where(self.mask.unsqueeze(1), 0.0)
        groups, e = self.groups, self.num_experts
        if self.candidates is None:
            return probs.reshape(groups, self.num_items // groups, e).sum(1)
        group = torch.arange(groups, device=probs.device).unsqueeze(1)
        cell = group * e + self.candidates.reshape(groups, -1)
        return _scattered(cell.flatten(), probs.flatten(), groups * e).view(groups, e)

    def of_all(self, scores: Tensor) -> Tensor:
        """Scores such as ``probs`` as ``(N, E)``, 0 for experts that are no candidates."""
        if self.candidates is None:
            return scores
        first = torch.arange(self.num_items, device=scores.device).unsqueeze(1) * self.num_experts
        cells = self.num_items * self.num_experts
        grid = _scattered((first + self.candidates).flatten(), scores.flatten(), cells)
        return grid.view(self.num_items, self.num_experts)

    @cached_property
    def log_partition(self) -> Tensor | None:
        """logsumexp of the scores, ``(N,)`` or ``(N, G)`` for ``G`` gates; None without scores."""
        if self.logits is None or self.given_log_partition is not None:
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

    @cached_property
    def taken(self) -> Tensor:
        """Which of the experts that ``probs`` is of reach the item, in its shape, bool."""
        if self.candidates is None:
            return self.chosen
        first = torch.arange(self.num_items, device=self.item.device).unsqueeze(1)
        pair = self.item * self.num_experts + self.expert
        return torch.isin(first * self.num_experts + self.candidates, pair)

    @property
    def divisible(self) -> bool:
        """Whether single assignments can be left out: not of slots, nor of merged experts."""
        return self.blend is None and self.merge is None

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
        rounding: str = "ceil",
        generator: torch.Generator | None = None,
    ) -> "Routing":
        """Drop assignments so that no expert takes more than its capacity from a group.

        The capacity is ``ceil(factor * K * n_g / E)`` for the ``n_g`` real items of group
        ``g``. ``K`` is the routing's ``budget``. Where it has none, ``K`` is the group's mean;
        in the order ``position`` the mean over the items so far, so that no item's fate hangs
        on later ones. Slots of a blend are balanced already, a merged expert takes all items
        of its part: these are left alone.

        Args:
            factor: capacity relative to an even load, above 0.
            order: who stays: a name in ``DROP_ORDERS``.
            renormalize: scale the remaining weights of an item back to their sum before.
            rounding: how the capacity becomes a whole number: a name in ``ROUNDINGS``.
            generator: what the ``random`` order draws from; None draws the same every time.

        >>> items = Items(torch.zeros(4, 1))
        >>> routing = Routing.by_item(
        ...     items, torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1), num_experts=2
        ... )
        >>> routing.limit(1.0).item.tolist()
        [0, 1]
        """
        if not self.divisible:
            return self
        keep = keep_within(self, factor, order, generator, rounding)
        return self.drop(keep, renormalize=renormalize)

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
            before=self if self.before is None else self.before,
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


def _scattered(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums of ``values`` ``(A,)`` by ``index`` ``(A,)``, ``(size,)``."""
    return values.new_zeros(size).index_add(0, index, values)


@torch.no_grad()
def _in_whole_rows(mass: Tensor, total: Tensor) -> Tensor:
    """Shares ``(E,)`` of ``total`` rows, by largest remainder; int64."""
    exact = mass.double() / mass.double().sum().clamp_min(torch.finfo(mass.dtype).tiny) * total
    whole = exact.floor()
    rank = (whole - exact).argsort(stable=True).argsort()
    return (whole + (rank < total - whole.sum())).long()
