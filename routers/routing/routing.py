"""Items and their routing: the input and the output of every router."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..plugins.errors import ConfigError
from .capacity import within_capacity
from .execution import Execution, Merge, Slots
from .skipping import check_skip, needed


@dataclass(frozen=True, eq=False)
class Items:
    """A batch of items to route, and all that a router may read.

    ``ConfigError`` if shapes do not match, or the items do not split into the groups.

    Attributes:
        x: features, ``(N, D)``.
        groups: ``N`` is split into this many contiguous groups of equal length; items of a
            group may see each other (the tokens of one sequence).
        mask: ``(N,)`` bool, False where an item is padding; None if all are real.
        ids: ``(N,)`` integers that identify an item's content, such as its token id.
        task: ``(N,)`` integers that identify an item's task, language or domain.
        recorded: routes of these items that another router, or this one, made earlier.
        earlier: the routings of these items in the layers before this one, the nearest last.
        projections: ``(E, D, P)``, the matrix by which each expert first reads an item.

    >>> items = Items(torch.zeros(6, 4), groups=2)
    >>> items.group_length
    3
    """

    x: Tensor
    groups: int = 1
    mask: Tensor | None = None
    ids: Tensor | None = None
    task: Tensor | None = None
    recorded: "Routing | None" = None
    earlier: "tuple[Routing, ...]" = ()
    projections: Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.dim() != 2:
            raise ConfigError(f"x has shape {tuple(self.x.shape)}: expected (N, D)")
        n = self.x.shape[0]
        if self.groups < 1 or n % self.groups:
            raise ConfigError(f"{n} items do not split into {self.groups} equal groups")
        _check("mask", self.mask, torch.bool, N=n)
        _check("ids", self.ids, N=n)
        _check("task", self.task, N=n)
        if self.recorded is not None and self.recorded.num_items != n:
            has = self.recorded.num_items
            raise ConfigError(f"recorded has the routes of {has} items: expected N={n}")
        for place, routing in enumerate(self.earlier):
            if routing.num_items != n:
                has = routing.num_items
                raise ConfigError(f"earlier[{place}] has the routes of {has} items: expected N={n}")

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def num_items(self) -> int:
        """``N``, which may be symbolic in a traced graph, as ``len`` may not."""
        return self.x.shape[0]

    @property
    def group_length(self) -> int:
        """Items in a group, padding included: ``L = N / G``."""
        return self.num_items // self.groups

    def grouped(self, values: Tensor) -> Tensor:
        """``(N, ...)`` as ``(G, L, ...)``."""
        return values.reshape(self.groups, self.group_length, *values.shape[1:])

    def real(self) -> Tensor:
        """``(N,)`` bool, True for items that are not padding."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.num_items, dtype=torch.bool, device=self.x.device)

    def unpadded(self, values: Tensor) -> Tensor:
        """``values`` of shape ``(N, ...)`` with the rows of padding removed."""
        return values if self.mask is None else values[self.mask]

    def in_full_precision(self) -> "Items":
        """The same items with ``x`` in float32 or wider: gates never run in half precision."""
        wide = torch.promote_types(self.x.dtype, torch.float32)
        return self if wide == self.x.dtype else replace(self, x=self.x.to(wide))


class Given(TypedDict, total=False):
    """Fields of ``Routing`` that a router may give, ``probs`` for ``given_probs``."""

    logits: Tensor | None
    probs: Tensor | None
    expected_load: Tensor | None
    extras: Mapping[str, Tensor] | None


@dataclass(frozen=True, eq=False)
class Routing:
    """The assignments of items to experts: a weighted graph, and the statistics of it.

    Losses, metrics and FLOPs are computed from it; the engine executes it. Build one with
    ``by_item``, ``by_expert``, ``by_mask``, ``by_slot`` or ``by_merge``, which raise
    ``ConfigError`` if a shape or dtype does not match.

    Attributes:
        item: ``(A,)`` int64, the item of each assignment; the slot for ``Slots``.
        expert: ``(A,)`` int64, the expert of each assignment.
        weight: ``(A,)``, the factor of the expert's output; ``(A, T)`` for ``T`` tasks.
        num_items: ``N``, padding included.
        num_experts: ``E``.
        groups: the number of equal contiguous groups of items, ``G``.
        mask: ``(N,)`` bool, False for padding; None if all items are real.
        logits: ``(N, E)`` scores before normalization; None if the router has none.
        given_probs: ``(N, E)`` gate distribution, if it is not the softmax of ``logits``.
        expected_load: ``(E,)`` differentiable estimate of the load; None if the router has none.
        candidates: ``(N, S)`` int64, the experts that ``logits`` and ``probs`` refer to, ``(N, S)``
            then, if there are too many experts to score them all; other experts count as
            probability 0. None if all experts are scored.
        execution: ``Slots``, ``Merge``, ``Combine`` or ``Defaults``; None for the weighted sum.
        fan_out: ``K`` if the assignments are ordered item by item, ``(N, K)``; else None.
        fan_in: ``C`` if they are ordered expert by expert, ``(E, C)``; else None.
        is_dense: whether every expert has every item, in order.
        experts_per_item: target experts per item, used to size capacity; None if it varies.
        requested: ``(E,)`` int64, the load before drops, if it differs.
        given_importance: ``(E,)`` gate mass before drops, if it differs.
        before: the routing before drops; None if nothing was dropped.
        step_statistics: ``(7, E)``, the sum of ``routers.step_sums`` over the micro-steps and
            ranks of an optimizer step so far, this batch included; None if not summed.
        extras: tensors that only some routers set. ``counts`` ``(router.num_counts,)`` int64 is
            summed over a step and passed to ``adapt_from_counts``; ``log_partition`` ``(N, G)``
            is the logsumexp of the scores of each of ``G`` gates or heads, if it is not that of
            ``logits``; ``sparsity_coefficient``, a scalar without gradient, weighs the gate mass
            in the ``sparsity`` losses; ``selectors`` ``(N, S, E)`` are the weights that each of
            ``S`` selectors gives, for the ``selector`` losses. ``divergence`` and
            ``surplus``, ``(N,)`` each, are what the losses ``divergence`` and ``cardinality`` read;
            ``imitator`` ``(N, C)`` are scores of ``C`` decisions and ``imitated`` ``(N,)`` int64
            the decision of each item, for the loss ``imitation``. ``state`` ``(N, P)`` is what a
            router carries over layers. ``load_factors`` ``(3, E)`` are sums over items, if
            ``expected_load`` is not one itself but the first of them times the second divided by
            the third, a count.
        gates: the routings of the gates of a multi-gate layer; empty for a single gate.
        task: ``(N,)``, the task of each item; None if it is not known.
        outputs: ``(A, ...)``, what the expert of each assignment returned, without its weight;
            None unless the layer keeps them (``MoE.keep_outputs``).

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
    expected_load: Tensor | None = None
    candidates: Tensor | None = None
    execution: Execution | None = None
    fan_out: int | None = None
    fan_in: int | None = None
    is_dense: bool = False
    experts_per_item: float | None = None
    requested: Tensor | None = None
    given_importance: Tensor | None = None
    before: "Routing | None" = None
    step_statistics: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    gates: "tuple[Routing, ...]" = ()
    task: Tensor | None = None
    outputs: Tensor | None = None

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
        candidates: Tensor | None = None,
        experts_per_item: float | None = None,
        **given: Unpack[Given],
    ) -> "Routing":
        """Token choice: each item selects its experts.

        Args:
            items: the items routed.
            expert: ``(N, K)`` int64.
            weight: ``(N, K)``, or ``(N, K, T)`` for ``T`` tasks.
            num_experts: ``E``.
            keep: ``(N, K)`` bool, False for assignments that do not exist; None if all do.
            candidates: ``(N, S)`` int64.
            experts_per_item: None for ``K`` if ``keep`` is None, else for an unknown number.
            given: ``logits``, ``probs``, ``expected_load`` and ``extras``, see ``Given``.
        """
        n, k = items.num_items, expert.shape[-1]
        _check_chosen("expert", expert, weight, keep, N=n, K=k)
        if keep is None and experts_per_item is None:
            experts_per_item = float(k)
        return cls._of(
            items,
            torch.arange(n, device=expert.device).repeat_interleave(k),
            expert.flatten(),
            weight.flatten(0, 1),
            num_experts,
            **given,
            candidates=candidates,
            fan_out=k,
            experts_per_item=experts_per_item,
        )._existing(keep)

    @classmethod
    def by_expert(
        cls,
        items: Items,
        item: Tensor,
        weight: Tensor,
        *,
        keep: Tensor | None = None,
        experts_per_item: float | None = None,
        **given: Unpack[Given],
    ) -> "Routing":
        """Expert choice: each expert selects its items.

        Args:
            item: ``(E, C)`` int64.
            weight: ``(E, C)``, or ``(E, C, T)`` for ``T`` tasks.
            keep: ``(E, C)`` bool, False for places left empty; None if all are filled.
            experts_per_item: the target; None if it varies.
            given: as in ``by_item``.
        """
        e, c = item.shape[0], item.shape[-1]
        _check_chosen("item", item, weight, keep, E=e, C=c)
        return cls._of(
            items,
            item.flatten(),
            torch.arange(e, device=item.device).repeat_interleave(c),
            weight.flatten(0, 1),
            e,
            **given,
            fan_in=c,
            experts_per_item=experts_per_item,
        )._existing(keep)

    @classmethod
    def by_mask(
        cls,
        items: Items,
        weight: Tensor,
        keep: Tensor | None = None,
        *,
        experts_per_item: float | None = None,
        execution: Execution | None = None,
        **given: Unpack[Given],
    ) -> "Routing":
        """Thresholds and dense mixtures: any subset of the ``(N, E)`` pairs.

        Args:
            weight: ``(N, E)``.
            keep: ``(N, E)`` bool, the pairs that exist; None for all of them.
            experts_per_item: None for ``E`` if ``keep`` is None, else for an unknown number.
            execution: how outputs are combined; None for their weighted sum.
            given: as in ``by_item``.
        """
        n, e = items.num_items, weight.shape[-1]
        _check("weight", weight, N=n, E=e)
        _check("keep", keep, torch.bool, " as weight", N=n, E=e)
        if keep is None and experts_per_item is None:
            experts_per_item = float(e)
        return cls._of(
            items,
            torch.arange(n, device=weight.device).repeat(e),
            torch.arange(e, device=weight.device).repeat_interleave(n),
            weight.t().flatten(),
            e,
            **given,
            execution=execution,
            fan_in=n,
            is_dense=True,
            experts_per_item=experts_per_item,
        )._existing(None if keep is None else keep.t())

    @classmethod
    def by_slot(
        cls,
        items: Items,
        dispatch: Tensor,
        combine: Tensor,
        num_experts: int,
        **given: Unpack[Given],
    ) -> "Routing":
        """Soft routing: experts work on slots, each a weighted mean of a group's items.

        Args:
            dispatch: ``(G, L, S)``, the weight of each item in each slot.
            combine: ``(G, L, S)``, the weight of each slot in each item's output; or
                ``(T, G, L, S)`` for ``T`` tasks, which needs ``probs``.
            num_experts: ``E``; the ``S`` slots are split among the experts in order.
            given: as in ``by_item``; ``probs`` is by default each expert's ``combine`` mass.
        """
        groups, slots = items.groups, dispatch.shape[-1]
        axes = {"G": groups, "L": items.group_length, "S": slots}
        _check("dispatch", dispatch, **axes)
        tasks = {"T": combine.shape[0]} if combine.dim() == 4 else {}
        _check("combine", combine, None, " as dispatch", **tasks, **axes)
        if slots % num_experts:
            raise ConfigError(f"{slots} slots do not split among num_experts={num_experts}")
        per = slots // num_experts
        slot = torch.arange(groups * slots, device=dispatch.device)
        slot = slot.view(groups, num_experts, per).transpose(0, 1).flatten()
        if given.get("probs") is None:
            given["probs"] = combine.reshape(-1, num_experts, per).sum(-1)
        return cls._of(
            items,
            slot,
            torch.arange(num_experts, device=slot.device).repeat_interleave(groups * per),
            torch.ones_like(slot, dtype=combine.dtype),
            num_experts,
            **given,
            execution=Slots(dispatch, combine),
            fan_in=groups * per,
        )

    @classmethod
    def by_merge(cls, items: Items, weight: Tensor, **given: Unpack[Given]) -> "Routing":
        """One expert per part of the items, whose parameters are means of all experts'.

        Every item is assigned to every expert with the weights of its part. The load is the gate
        mass in rows: a merged expert's rows count for each expert in proportion to its weight,
        rounded so that they sum to the number of real items.

        Args:
            weight: ``(M, E)``, rows that sum to one, for ``M`` equal contiguous parts.
            given: as in ``by_item``.

        >>> items = Items(torch.zeros(4, 1))
        >>> Routing.by_merge(items, torch.tensor([[0.25, 0.75]])).load.tolist()
        [1, 3]
        """
        parts = max(weight.shape[0], 1)
        if weight.dim() != 2 or items.num_items % parts:
            shape = tuple(weight.shape)
            raise ConfigError(
                f"weight has shape {shape}: expected (M, E), M a divisor of N={items.num_items}"
            )
        each = weight.repeat_interleave(items.num_items // parts, 0)
        return cls.by_mask(items, each, execution=Merge(weight), **given)

    @classmethod
    def _of(
        cls,
        items: Items,
        item: Tensor,
        expert: Tensor,
        weight: Tensor,
        num_experts: int,
        *,
        probs: Tensor | None = None,
        extras: Mapping[str, Tensor] | None = None,
        **fields: Any,
    ) -> "Routing":
        """A routing of ``items``, after a check of what comes with its assignments."""
        routing = cls(
            item,
            expert,
            weight,
            items.num_items,
            num_experts,
            groups=items.groups,
            mask=items.mask,
            task=items.task,
            given_probs=probs,
            extras=extras or {},
            **fields,
        )
        scored = {"N": items.num_items, "E": num_experts}
        if routing.candidates is not None:
            scored = {"N": items.num_items, "S": routing.candidates.shape[-1]}
        _check("candidates", routing.candidates, torch.int64, **scored)
        _check("logits", routing.logits, **scored)
        _check("probs", routing.given_probs, **scored)
        _check("expected_load", routing.expected_load, E=num_experts)
        return routing

    def _existing(self, keep: Tensor | None) -> "Routing":
        """Only the assignments of real items where ``keep``, of ``A`` elements, is True."""
        keep = None if keep is None else keep.flatten()
        if self.mask is not None:
            real = self.mask[self.item]
            keep = real if keep is None else keep & real
        if keep is None:
            return self
        if torch.compiler.is_compiling():  # the number of assignments may not depend on values
            return replace(self, weight=torch.where(keep, self.weight, 0))
        return self._only(keep)

    def detach(self) -> "Routing":
        """The same routing with tensors that belong to no graph, on the same devices."""
        return replace(
            self, **{each.name: _detached(getattr(self, each.name)) for each in fields(self)}
        )

    def for_items(self, items: Items) -> "Routing":
        """The same assignments and weights for as many items, on their device and in their type.

        Assignments of padding are left out. Drops stay; logits, slots and what else a router gave
        does not.

        >>> items = Items(torch.zeros(2, 1, dtype=torch.float64))
        >>> routing = Routing.by_item(items, torch.tensor([[3], [0]]), torch.ones(2, 1), 4)
        >>> routing.for_items(items).weight.dtype
        torch.float64
        """
        device, scores = items.x.device, None
        if self.given_probs is not None or self.logits is not None:
            scores = self.probs.to(items.x)
        found = Routing(
            self.item.to(device),
            self.expert.to(device),
            self.weight.to(items.x),
            items.num_items,
            self.num_experts,
            groups=items.groups,
            mask=items.mask,
            task=items.task,
            given_probs=scores,
            candidates=None if self.candidates is None else self.candidates.to(device),
            execution=self.execution,
            fan_out=self.fan_out,
            fan_in=self.fan_in,
            is_dense=self.is_dense,
            experts_per_item=self.experts_per_item,
        )._existing(None)
        if self.before is None:
            return found
        before = self.before.for_items(items)
        return replace(
            found, requested=before.load, given_importance=before.importance, before=before
        )

    # ---- drops ----

    @property
    def supports_dropping(self) -> bool:
        """Whether single assignments can be left out."""
        return self.execution is None or self.execution.supports_dropping

    def limit(
        self,
        factor: float,
        order: str = "position",
        *,
        renormalize: bool = False,
        rounding: str = "ceil",
        generator: torch.Generator | None = None,
    ) -> "Routing":
        """Drop assignments so that no expert exceeds its capacity in a group.

        The capacity is ``ceil(factor * K * n_g / E)`` for the ``n_g`` real items of group
        ``g``. ``K`` is the routing's ``experts_per_item``, if any, else the group's mean before
        drops, so that a second limit of the same arguments drops nothing; in the order
        ``position`` the mean over the items so far, so that later items do not affect an item.
        Slots are balanced and a merged expert takes all items of its part: these routings are
        returned unchanged. ``ConfigError`` if an argument is invalid.

        Args:
            factor: capacity relative to an even load, above 0.
            order: which assignments stay: a name in ``DROP_ORDERS``.
            renormalize: scale the remaining weights of an item back to their sum before.
            rounding: how the capacity becomes an integer: a name in ``ROUNDINGS``.
            generator: random source of the ``random`` order; None draws the same every time.

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

    def skip(self, rules: Mapping[str, float], *, renormalize: bool = False) -> "Routing":
        """Drop the assignments that items need least, by their weights.

        Slots and merged experts have no weights of single assignments: these routings are
        returned unchanged. ``ConfigError`` if an argument is invalid.

        Args:
            rules: shares by the names of ``SKIP_RULES``; an assignment stays if all rules keep it.
                ``weight`` keeps weights of at least this share of the largest of an item,
                ``mass`` the fewest of the largest that sum to this share of an item's weights.
            renormalize: scale the remaining weights of an item back to their sum before.

        >>> items = Items(torch.zeros(2, 1))
        >>> weight = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3]])
        >>> Routing.by_mask(items, weight).skip({"mass": 0.8}).load.tolist()
        [2, 2, 1]
        """
        check_skip(rules)
        if not rules or not self.supports_dropping:
            return self
        keep = needed(self, rules)
        return self if keep.all() else self.drop(keep, renormalize=renormalize)

    def drop(self, keep: Tensor, *, renormalize: bool = False) -> "Routing":
        """Return the routing with only the assignments where ``keep``, ``(A,)`` bool, is True."""
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
        """The assignments where ``keep``, ``(A,)`` bool, is True, without a trace of the others."""
        return replace(
            self,
            item=self.item[keep],
            expert=self.expert[keep],
            weight=self.weight[keep],
            outputs=None if self.outputs is None else self.outputs[keep],
            fan_out=None,
            fan_in=None,
            is_dense=False,
        )

    # ---- statistics ----

    @property
    def num_assignments(self) -> int:
        """``A``."""
        return self.item.shape[0]

    @property
    def mass(self) -> Tensor:
        """The weight of each assignment, a sum over tasks, ``(A,)``."""
        return self.weight.unsqueeze(-1).flatten(1).sum(1)

    @cached_property
    def num_real(self) -> Tensor:
        """The number of items that are not padding, a scalar."""
        if self.mask is None:
            return torch.tensor(self.num_items, device=self.item.device)
        return self.mask.sum()

    @cached_property
    def load(self) -> Tensor:
        """Rows each expert computes, ``(E,)`` int64."""
        if isinstance(self.execution, Merge):
            weight = self.execution.weight
            runs = weight.shape[0] if weight.dim() > 2 else 1
            return _whole_rows(self.importance, self.num_real * runs)
        return torch.bincount(self.expert, minlength=self.num_experts)

    @cached_property
    def order(self) -> Tensor:
        """The permutation that sorts the assignments by expert, ``(A,)``."""
        if self.fan_in is not None:
            return torch.arange(self.num_assignments, device=self.expert.device)
        return stable_order(self.expert, self.num_experts)

    @cached_property
    def item_order(self) -> tuple[Tensor | None, Tensor]:
        """The permutation that sorts the assignments by item, and where each item's begin.

        ``(A,)``, None if they are in that order already; and ``(N,)``.
        """
        n, device = self.num_items, self.item.device
        if self.fan_out:  # 0 is no step to count in
            return None, torch.arange(0, n * self.fan_out, self.fan_out, device=device)
        count = torch.bincount(self.item, minlength=n)
        return stable_order(self.item, n), count.cumsum(0) - count

    @property
    def requested_load(self) -> Tensor:
        """Rows requested of each expert, before drops, ``(E,)`` int64."""
        return self.load if self.requested is None else self.requested

    @cached_property
    def importance(self) -> Tensor:
        """Gate mass of each expert, before drops, ``(E,)``; Shazeer et al. 2017, equation 6."""
        if self.given_importance is not None:
            return self.given_importance
        if isinstance(self.execution, Slots):
            return self.unpadded(self.probs).sum(0)
        return _sums(self.expert, self.mass, self.num_experts)

    @cached_property
    def probs(self) -> Tensor:
        """The gate's distribution, ``(N, E)``, else the weights; ``(N, S)`` for candidates."""
        if self.given_probs is not None:
            return self.given_probs
        if self.logits is not None:
            return self.logits.softmax(-1)
        return self.mean_weights

    @property
    def mean_weights(self) -> Tensor:
        """The weight of each item for each expert, ``(N, E)``, a mean over tasks; 0 for none."""
        return self._grid(self._cells, self.weight.unsqueeze(-1).flatten(1).mean(1))

    @cached_property
    def prob_sums(self) -> Tensor:
        """Sums of ``probs`` over the real items, ``(E,)``, also for candidates."""
        if self.candidates is None:
            return self.unpadded(self.probs).sum(0)
        probs, expert = self.unpadded(self.probs), self.unpadded(self.candidates)
        return _sums(expert, probs, self.num_experts)

    @cached_property
    def prob_sums_by_group(self) -> Tensor:
        """Sums of ``probs`` over the real items of each group, ``(G, E)``."""
        probs = self.probs if self.mask is None else self.probs.where(self.mask.unsqueeze(1), 0.0)
        groups, e = self.groups, self.num_experts
        if self.candidates is None:
            return probs.reshape(groups, self.num_items // groups, e).sum(1)
        group = torch.arange(groups, device=probs.device).unsqueeze(1)
        cell = group * e + self.candidates.reshape(groups, -1)
        return _sums(cell, probs, groups * e).view(groups, e)

    @cached_property
    def log_partition(self) -> Tensor | None:
        """logsumexp of the scores, ``(N,)``; ``(N, G)`` for ``G`` gates or heads; None without."""
        given = self.extras.get("log_partition")
        return given if given is not None or self.logits is None else self.logits.logsumexp(-1)

    @cached_property
    def assigned_mask(self) -> Tensor:
        """Whether an expert contributes to an item, ``(N, E)`` bool; all do through slots."""
        shape = (self.num_items, self.num_experts)
        if isinstance(self.execution, Slots):
            real = self.mask if self.mask is not None else self.item.new_ones(shape[0]).bool()
            return real.unsqueeze(1).expand(shape)
        grid = torch.zeros(shape, dtype=torch.bool, device=self.item.device)
        grid[self.item, self.expert] = True
        return grid

    @cached_property
    def candidate_mask(self) -> Tensor:
        """``assigned_mask`` in the shape of ``probs``, bool.

        A candidate that an item has more than once counts only at its first place.
        """
        if self.candidates is None:
            return self.assigned_mask
        reached = torch.isin(self._candidate_cells(self.candidates), self._cells)
        return reached & _first_occurrence(self.candidates)

    def unpadded(self, values: Tensor) -> Tensor:
        """``values`` of shape ``(N, ...)`` with the rows of padding removed."""
        return values if self.mask is None else values[self.mask]

    def to_dense(self, scores: Tensor) -> Tensor:
        """Scores such as ``probs`` as ``(N, E)``, 0 for experts that are no candidates."""
        if self.candidates is None:
            return scores
        return self._grid(self._candidate_cells(self.candidates), scores)

    @property
    def _cells(self) -> Tensor:
        """The place of each assignment in a flat ``(N, E)``."""
        return self.item * self.num_experts + self.expert

    def _candidate_cells(self, candidates: Tensor) -> Tensor:
        first = torch.arange(self.num_items, device=candidates.device).unsqueeze(1)
        return first * self.num_experts + candidates

    def _grid(self, cells: Tensor, values: Tensor) -> Tensor:
        """Sums of ``values`` by cell, ``(N, E)``."""
        shape = (self.num_items, self.num_experts)
        return _sums(cells, values, math.prod(shape)).view(shape)


#: NumPy sorts 16-bit integers by radix, ten times faster than torch sorts 64-bit ones.
_RADIX_LIMIT = 2**16


def stable_order(keys: Tensor, bound: int) -> Tensor:
    """Return the permutation that sorts ``keys``, int64 in ``[0, bound)``; ties keep their order.

    >>> stable_order(torch.tensor([2, 0, 2, 1]), bound=3).tolist()
    [1, 3, 0, 2]
    """
    if keys.device.type != "cpu" or bound > _RADIX_LIMIT:
        return keys.argsort(stable=True)
    return torch.from_numpy(np.argsort(keys.numpy().astype(np.uint16), kind="stable"))


def _detached(value: Any) -> Any:
    """``value`` with all tensors in it detached."""
    if isinstance(value, Tensor | Routing | Slots | Merge):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _detached(inner) for key, inner in value.items()}
    return tuple(map(_detached, value)) if isinstance(value, tuple) else value


def _sums(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums of ``values`` by ``index``, of the same shape, ``(size,)``."""
    return values.new_zeros(size).index_add(0, index.flatten(), values.flatten())


def _first_occurrence(values: Tensor) -> Tensor:
    """Whether each entry of ``(N, S)`` is the first of its value in its row, bool."""
    values, order = values.sort(dim=-1, stable=True)
    new = F.pad(values.diff(dim=-1) > 0, (1, 0), value=True)
    return torch.empty_like(new).scatter(1, order, new)


@torch.no_grad()
def _whole_rows(mass: Tensor, total: Tensor) -> Tensor:
    """Split ``total`` rows in proportion to ``mass`` ``(E,)`` by largest remainder, int64."""
    exact = mass.double() / mass.double().sum().clamp_min(torch.finfo(mass.dtype).tiny) * total
    whole = exact.floor()
    rank = (whole - exact).argsort(stable=True).argsort()
    return (whole + (rank < total - whole.sum())).long()


def _check_chosen(
    name: str, chosen: Tensor, weight: Tensor, keep: Tensor | None, **axes: int
) -> None:
    """Raise ``ConfigError`` unless weights, of one or several tasks, and ``keep`` match."""
    _check(name, chosen, torch.int64, **axes)
    tasks = {"T": weight.shape[2]} if weight.dim() == 3 else {}
    _check("weight", weight, None, f" as {name}", **axes, **tasks)
    _check("keep", keep, torch.bool, f" as {name}", **axes)


def _check(
    key: str, value: Tensor | None, dtype: torch.dtype | None = None, like: str = "", /, **axes: int
) -> None:
    """Raise ``ConfigError`` unless ``value``, if given, has this shape and dtype."""
    if value is None:
        return
    if value.shape != tuple(axes.values()):
        expected = ", ".join(f"{axis}={size}" for axis, size in axes.items())
        comma = "," if len(axes) == 1 else ""
        raise ConfigError(
            f"{key} has shape {tuple(value.shape)}: expected ({expected}{comma}){like}"
        )
    if dtype is not None and value.dtype != dtype:
        raise ConfigError(f"{key} has dtype {value.dtype}: expected {dtype}")
