"""Routing: what every router returns."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .blend import Blend
from .capacity import within_capacity
from .items import Items
from .statistics import Readings


class Routing(Readings):
    """Which item goes to which expert, and with what weight.

    Losses, metrics and FLOPs are read from it; the engine executes it. Build one with
    ``by_item``, ``by_expert``, ``by_mask``, ``by_slot`` or ``by_merge``. Its fields are
    described in ``Graph``, what can be read from them in ``Readings``.

    >>> items = Items(torch.zeros(3, 4))
    >>> routing = Routing.by_item(
    ...     items, torch.tensor([[0], [2], [2]]), torch.ones(3, 1), num_experts=4
    ... )
    >>> routing.load.tolist()
    [1, 0, 2, 0]
    """

    before: "Routing | None"
    gates: "tuple[Routing, ...]"

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
            extra: ``logits``, ``probs``, ``expected_load``, ``candidates``,
                ``experts_per_item`` as in the class; the last is ``K`` if all choices are kept.
        """
        n, k = expert.shape
        extra.setdefault("experts_per_item", float(k) if keep is None else None)
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
        extra.setdefault("experts_per_item", float(e) if keep is None else None)
        item = torch.arange(n, device=weight.device).expand(e, n)
        keep = None if keep is None else keep.t()
        return cls.by_expert(items, item, weight.t(), keep=keep, is_dense=True, **extra)

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
        ``g``. ``K`` is the routing's ``experts_per_item``, if any, else the group's mean;
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
        if not self.supports_dropping:
            return self
        keep = within_capacity(self, factor, order, generator, rounding)
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
            requested=self.requested_load,
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
            is_dense=False,
        )
