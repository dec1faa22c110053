"""The base class of routers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._torch import uncompiled
from .gates import ExpertRows, Gate, GateSpec, build_gate
from .plugins import OptionError, Registry, ShowsArguments
from .routing import Items, Routing


@dataclass(frozen=True)
class Traits:
    """Declared properties of a router; the conformance kit verifies each.

    Attributes:
        learned: the gradient of the task's loss reaches the router's parameters.
        per_item: an item's route depends on that item only, not on others of its group.
        causal: an item's route never depends on later items of its group.
        causal_in_eval: it may in training, but never in evaluation, so that scores on causal
            tasks contain no later item; for routers that are not ``causal``.
        equivariant: permuting a group's items permutes their routes.
        convex: the weights of a routed item are non-negative and sum to one.
        merges: experts' parameters are averaged, which not every bank supports.
        needs_ids: the router reads ``Items.ids``.
        needs_task: the router reads ``Items.task``.
        needs_recorded: the router assigns items as ``Items.recorded`` does.
        needs_projections: the router reads ``Items.projections``, weights of the experts.
        exact_gradients: gradients are those of the output as long as the selection does not
            change; False for surrogate gradients such as straight-through estimators.
        expects_load: routings have an ``expected_load``, which the ``load`` loss reads.
        has_logits: routings have ``logits``, which the ``z`` loss reads.
    """

    learned: bool = True
    per_item: bool = True
    causal: bool = True
    equivariant: bool = True
    convex: bool = True
    exact_gradients: bool = True
    causal_in_eval: bool = False
    merges: bool = False
    needs_ids: bool = False
    needs_task: bool = False
    needs_recorded: bool = False
    needs_projections: bool = False
    expects_load: bool = False
    has_logits: bool = True


class Router(ShowsArguments, nn.Module, ABC):
    """Assigns items to experts.

    A router returns a ``Routing``; it computes no loss, logs no metric and moves no data. The
    keyword arguments of its constructor are its config schema.

    Args:
        dim: ``D``, the width of the items.
        num_experts: ``E``, the number of experts.

    Subclasses document what they add. Options with the same meaning everywhere are ``k``, the
    number of experts per item, and ``gate``, which scores the experts.

    Class attributes:
        traits: declared properties with default options, where an instance may declare fewer;
            other options may add or withdraw some, by ``set_traits``.
        search_space: ranges for sweeps: option to a list of choices, or to ``low``, ``high``
            and optionally ``log``.
        default_losses: default auxiliary losses ``{name: weight}``: the paper's, else ours. A
            run may override them.
        not_static: why the router cannot be traced in evaluation, by ``torch.export`` or
            ``torch.compile`` with ``fullgraph=True``; empty if it can.
        num_counts: length of ``extras["counts"]`` in its routings, for a router that adapts to
            more than the load; an instance may set its own.
    """

    traits: Traits = Traits()
    search_space: ClassVar[Mapping[str, Any]] = {}
    default_losses: ClassVar[Mapping[str, float]] = {}
    not_static: ClassVar[str] = ""
    num_counts: int = 0

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__()
        if num_experts < 1:
            raise OptionError("num_experts", num_experts, "an integer >= 1")
        self.dim = dim
        self.num_experts = num_experts

    @abstractmethod
    def forward(self, items: Items) -> Routing:
        """Route ``items``."""

    @uncompiled
    def __call__(self, items: Items | Tensor) -> Routing:
        """Route ``items``, or a tensor ``(N, D)`` of them, in float32 or wider.

        Autocast is disabled: logits in bfloat16 change the selection.
        """
        if isinstance(items, Tensor):
            items = Items(items)
        if not isinstance(items, Items):
            given = type(items).__name__
            raise TypeError(f"{type(self).__name__} routes Items or a tensor (N, D), not {given}")
        return self.route(items)

    def route(self, items: Items) -> Routing:
        """Route ``items`` as a call does, but as part of the graph if one is traced."""
        device = items.x.device.type
        autocast = torch.is_autocast_enabled(device)
        if items.x.dtype not in (torch.float32, torch.float64):
            items = items.in_full_precision()
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            routing: Routing = super().__call__(items)
        return routing

    @property
    def adapts(self) -> bool:
        """Whether the router adapts: its class overrides ``adapt``, or it has counts."""
        return type(self).adapt is not Router.adapt or self.num_counts > 0

    def adapt(self, load: Tensor) -> None:
        """Hook called once per optimizer step with the load of that step, ``(E,)`` int64."""

    def adapt_from_counts(self, counts: Tensor) -> None:
        """Hook called after ``adapt`` with the step's sum of counts, ``(num_counts,)``."""

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        """Hook called once before training with the items of the training set.

        Args:
            ids: ``(M,)`` the id of every training item, including repeats.
            features: ``(M, F)`` simple features of each item's content.
        """

    def take_experts(
        self, index: Sequence[int], heirs: Sequence[int] | None = None
    ) -> "Router | None":
        """Hook of ``experts.take_experts``: a router over experts ``index`` of this one.

        The default, None, leaves it to the shapes of the state: each tensor with an entry for
        every expert. A router overrides this if it refers to experts otherwise, as a table does.

        Args:
            index: expert ``i`` of the new router is ``index[i]`` of this one; a repeated expert
                has copies, an absent one is removed.
            heirs: for each expert of this router the new expert that takes over its items if it
                is removed; None to distribute them evenly.
        """
        return None

    def shared_with(self, before: "Router") -> "Router":
        """Hook of ``moe.share_router``: the router of a layer after one that has ``before``.

        The default is ``before`` itself. A router that shares only parts takes these from it.
        """
        return before

    def defer(self, experts: Sequence[int]) -> bool:
        """Hook: select these experts only after all others, with all weights as they are.

        Returns False, and changes nothing, if the router has no state for this.
        """
        return False

    def expert_rows(self) -> list[ExpertRows]:
        """The rows of each linear gate with a score for every expert; losses read them."""
        gates = [module for module in self.modules() if isinstance(module, Gate)]
        found = [rows for gate in gates if (rows := gate.rows()) is not None]
        every = tuple(range(self.num_experts))
        return [ExpertRows(rows, every) for rows in found if len(rows) == self.num_experts]

    def build_gate(self, spec: GateSpec, outputs: int | None = None, option: str = "gate") -> Gate:
        """Build the gate that ``option`` specifies and drop the traits that it lacks."""
        gate = build_gate(spec, self.dim, outputs or self.num_experts, option)
        self.set_traits(
            per_item=self.traits.per_item and gate.per_item,
            causal=self.traits.causal and gate.causal,
            causal_in_eval=self.traits.causal_in_eval and gate.causal,
        )
        return gate

    def set_traits(self, **traits: bool) -> None:
        """Change the traits of this instance, for options on which they depend."""
        self.traits = replace(self.traits, **traits)


ROUTERS = Registry("router", Router, group="switchyard.routers", positional=2)
