"""The heaviest expert of every item left out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import Items, Routing
from routers.routing import Slots

from ._base import INTERVENTIONS, Intervention, intervene
from .drop import leave_out


@INTERVENTIONS.register("drop_top")
class DropTop(Intervention):
    """The heaviest expert of every item is left out; with several gates by their mean weight."""

    @property
    def targets(self) -> Sequence[int | None]:
        return (None,)

    def apply(self, target: int | None) -> AbstractContextManager[None]:
        return intervene(self.layer, _without_top)


def _without_top(items: Items, routing: Routing) -> Routing:
    weights = _weights(routing.execution, routing).masked_fill(~routing.assigned_mask, -torch.inf)
    return leave_out(routing, F.one_hot(weights.argmax(1), routing.num_experts).bool())


@singledispatch
def _weights(execution: object, routing: Routing) -> Tensor:
    """The weight of each expert for each item, ``(N, E)``."""
    return routing.mean_weights


@_weights.register
def _weights_of_slots(execution: Slots, routing: Routing) -> Tensor:
    groups, length, slots = execution.combine.shape[-3:]
    mean = execution.combine.reshape(-1, groups * length, slots).mean(0)
    return mean.view(len(mean), routing.num_experts, -1).sum(2)
