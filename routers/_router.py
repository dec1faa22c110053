"""The contract every routing strategy keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._torch.no_compile import uncompiled
from .gates import Gate, GateSpec, build_gate
from .plugins.errors import OptionError
from .plugins.registry import Registry
from .routing import Items, Routing


@dataclass(frozen=True)
class Traits:
    """What a router promises; the conformance kit proves each promise.

    Attributes:
        learned: the task's gradient reaches its parameters.
        per_item: an item's route depends on that item alone, not on others of its group.
        causal: an item's route never depends on later items of its group.
        equivariant: permuting a group's items permutes their routes.
        convex: the weights of a routed item are non-negative and sum to one.
        merges: experts' parameters are averaged, which not every bank can.
        needs_ids: it reads ``Items.ids``.
        needs_task: it reads ``Items.task``.
        exact_gradients: where choices do not change, gradients are those of the output; not so
            where a surrogate stands in for a choice, as in straight-through estimators.
        expects_load: its routings carry ``expected_load``, which the ``load`` loss reads.
        has_logits: its routings carry ``logits``, which the ``z`` loss reads.
    """

    learned: bool = True
    per_item: bool = True
    causal: bool = True
    equivariant: bool = True
    convex: bool = True
    exact_gradients: bool = True
    merges: bool = False
    needs_ids: bool = False
    needs_task: bool = False
    expects_load: bool = False
    has_logits: bool = True


class Router(nn.Module, ABC):
    """Decides which experts work on which items.

    A router returns a ``Routing`` and nothing else: it computes no loss, logs no metric and
    moves no data. Its constructor's keyword arguments are its config schema.

    Args:
        dim: ``D``, the width of the items.
        num_experts: ``E``.

    Class attributes:
        traits: what it promises; an instance may promise less than its class.
        search_space: what a sweep may vary: option to a list of choices, or to ``low``, ``high``
            and optionally ``log``.
        default_losses: default auxiliary losses ``{name: weight}``, the paper's or else ours. A
            run may override them.
        num_counts: the length of ``extras["counts"]`` in its routings, for a router whose ``adapt``
            needs more than the load; an instance may set its own.
    """

    traits: Traits = Traits()
    search_space: ClassVar[Mapping[str, Any]] = {}
    default_losses: ClassVar[Mapping[str, float]] = {}
    num_counts: int = 0

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__()
        if num_experts < 1:
            raise OptionError("num_experts", num_experts, "an integer of at least 1")
        self.dim = dim
        self.num_experts = num_experts

    @abstractmethod
    def forward(self, items: Items) -> Routing:
        """Route ``items``."""

    @uncompiled
    def __call__(self, items: Items) -> Routing:
        """Route ``items`` in float32 or wider, also under autocast, as half precision misroutes."""
        device = items.x.device.type
        autocast = torch.is_autocast_enabled(device)
        if items.x.dtype.itemsize < 4:
            items = items.in_full_precision()
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            routing: Routing = super().__call__(items)
        return routing

    def adapt(self, load: Tensor) -> None:
        """Called once per optimizer step with the load of the whole step, ``(E,)`` int64."""

    def adapt_from_counts(self, tally: Tensor) -> None:
        """Called after ``adapt``, where there is one, with the sum of the step's tallies."""

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        """Called once before training with what the training set holds.

        Args:
            ids: ``(M,)`` the id of every training item, repeats included.
            features: ``(M, F)`` a plain description of each item's content.
        """

    def build_gate(self, spec: GateSpec, outputs: int | None = None, option: str = "gate") -> Gate:
        """Build the gate that ``option`` specifies and withdraw the traits that it lacks."""
        gate = build_gate(spec, self.dim, outputs or self.num_experts, option)
        self.set_traits(
            per_item=self.traits.per_item and gate.per_item,
            causal=self.traits.causal and gate.causal,
        )
        return gate

    def set_traits(self, **traits: bool) -> None:
        """Change what this instance promises, where an option changes it."""
        self.traits = replace(self.traits, **traits)


ROUTERS = Registry("router", Router, group="switchyard.routers", positional=2)
