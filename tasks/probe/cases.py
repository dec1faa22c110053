"""Cases: a network with an intervention in one of its layers, or as it is."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experts import Intervention, MoE, drop_experts, intervene, leave_out
from routers import Items, Routing

from .._task import Batch, Labeling
from .shapley import Coalition

#: What changes the network while a batch, as the network takes it, passes.
Changed = Callable[[Batch], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """A change of the network.

    Attributes:
        intervention: name of the change.
        changed: context manager of the change while a batch passes.
        experts: the experts that it is about; none for a whole layer.
        label: the label whose items it is about, as ``labeling=label``; empty for all.
    """

    intervention: str
    changed: Changed
    experts: Sequence[int] = ()
    label: str = ""

    @property
    def about(self) -> dict[str, Any]:
        """Name, experts and label of the change, as plain values."""
        return {"change": self.intervention, "experts": list(self.experts), "label": self.label}


def unchanged() -> Case:
    """The network as it is."""
    return Case("none", lambda batch: nullcontext())


def cases_of(interventions: Mapping[str, Intervention]) -> list[Case]:
    """A case for each target of interventions by name."""
    return [
        Case(name, partial(_apply, each, target), () if target is None else (target,))
        for name, each in interventions.items()
        for target in each.targets
    ]


def _apply(
    intervention: Intervention, target: int | None, batch: Batch
) -> AbstractContextManager[Any]:
    return intervention.apply(target)


def masked(layer: MoE, labeling: Labeling, label: int, experts: Sequence[int]) -> Case:
    """The case in which items of a label cannot use some experts; other weights stay."""

    def changed(batch: Batch) -> AbstractContextManager[Any]:
        return intervene(layer, partial(_mask, labeling.of(batch) == label, experts))

    return Case("mask", changed, experts, f"{labeling.name}={labeling.names[label]}")


def _mask(chosen: Tensor, experts: Sequence[int], items: Items, routing: Routing) -> Routing:
    """Leave out ``experts`` for chosen samples or items."""
    of_item = chosen.flatten().repeat_interleave(routing.num_items // chosen.numel())
    pairs = torch.zeros(
        routing.num_items, routing.num_experts, dtype=torch.bool, device=chosen.device
    )
    pairs[:, list(experts)] = of_item.unsqueeze(1)
    return leave_out(routing, pairs)


def only(layer: MoE, experts: Coalition) -> Case:
    """The case in which all experts but these are dropped."""
    others = [each for each in range(layer.router.num_experts) if each not in experts]
    return Case("only", lambda batch: intervene(layer, drop_experts(others)))
