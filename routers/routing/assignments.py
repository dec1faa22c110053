"""The data of a routing: a weighted graph from items to experts, and what comes with it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .blend import Blend
from .rule import OutputCombiner


@dataclass(frozen=True, eq=False)
class Graph:
    """Which item goes to which expert, and with what weight.

    Where there are too many experts to score them all, ``logits`` and ``probs`` are of the
    ``S`` ``candidates`` of each item alone. Balance terms then take the probability of all
    others for 0.

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
        given_log_partition: ``(N, G)`` logsumexp of the scores of each of several gates or heads,
            where it is not that of ``logits``.
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
        is_dense: every item goes to every expert, and each expert has them in order.
        experts_per_item: how many experts an item is meant to get, which capacities allow for; None
            where that is not known beforehand.
        requested: ``(E,)`` int64, the load before anything was dropped, where it differs.
        given_importance: ``(E,)`` gate mass before anything was dropped, where it differs.
        before: the routing from which assignments were dropped, where any were.
        step: ``(5, E)`` ``step_sums`` of all micro-steps and ranks so far, this batch included;
            None where nobody sums them.
        counts: ``(router.num_counts,)`` int64, counts that the router wants summed over a step
            and given back to ``adapt_from_counts``.
        sparsity_coefficient: weight of the gate mass in the ``sparsity`` losses, a scalar without
            gradient.
        selectors: ``(N, S, E)`` what each of ``S`` selectors alone would weigh, which the
            ``selector`` losses read.
        gates: the routings of several gates that were joined; empty where there is one gate.

    >>> graph = Graph(
    ...     torch.tensor([0, 1]), torch.tensor([3, 3]), torch.ones(2), num_items=2, num_experts=4
    ... )
    >>> graph.num_assignments
    2
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
    rule: OutputCombiner | None = None
    fan_out: int | None = None
    fan_in: int | None = None
    is_dense: bool = False
    experts_per_item: float | None = None
    requested: Tensor | None = None
    given_importance: Tensor | None = None
    before: "Graph | None" = None
    step: Tensor | None = None
    counts: Tensor | None = None
    sparsity_coefficient: Tensor | None = None
    selectors: Tensor | None = None
    gates: "tuple[Graph, ...]" = ()

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

    @property
    def supports_dropping(self) -> bool:
        """Whether single assignments can be left out: not of slots, nor of merged experts."""
        return self.blend is None and self.merge is None

    def unpadded(self, values: Tensor) -> Tensor:
        """``values`` of shape ``(N, ...)`` with the rows of padding removed."""
        return values if self.mask is None else values[self.mask]
