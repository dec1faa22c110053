"""Items of an expert rerouted to the next best, as if the expert did not exist."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from routers import ConfigError, Items, Router, Routing
from routers.routing import Defaults, Execution, Merge, OutputMeans, Slots

from ..layers.moe import MoE
from ..surgery.take import take_router
from ._base import INTERVENTIONS, Intervention


@INTERVENTIONS.register("reroute")
class Reroute(Intervention):
    """The expert is removed before selection: its items go to the next best by the router.

    Outputs are those of ``experts.take_experts(layer, others)``, but a capacity stays what it is
    with all experts. Refused with the reason where the router has no way to do without an expert.
    """

    def __init__(self, layer: MoE) -> None:
        super().__init__(layer)
        experts = range(layer.router.num_experts)
        self.others = [[other for other in experts if other != expert] for expert in experts]
        if len(layer.each_router) > 1:
            raise ConfigError("reroute: the layer has a router for each round; leave it out")
        try:
            self.routers = [take_router(layer.router, others) for others in self.others]
        except ConfigError as error:
            raise ConfigError(f"reroute: {error}") from error

    def apply(self, target: int | None) -> AbstractContextManager[None]:
        assert target is not None
        return self._rerouted(self.routers[target], self.others[target])

    @contextmanager
    def _rerouted(self, router: Router, others: Sequence[int]) -> Iterator[None]:
        def replaced(_: Any, given: tuple[Items], routing: Routing) -> Routing:
            items, read = given[0], given[0].projections
            items = items if read is None else replace(items, projections=read[list(others)])
            fewer = router.to(items.x.device).train(self.layer.training)(items)
            return among_all(items, fewer, others, routing.num_experts)

        layer, hooks = self.layer, list[RemovableHandle]()  # while it runs: others may share it

        def begin(*_: object) -> None:
            hooks.append(layer.router.register_forward_hook(replaced))

        def end(*_: object) -> None:
            hooks.pop().remove()

        begins = layer.register_forward_pre_hook(begin)
        ends = layer.register_forward_hook(end, always_call=True)
        try:
            yield
        finally:
            begins.remove()
            ends.remove()


def among_all(items: Items, routing: Routing, index: Sequence[int], num_experts: int) -> Routing:
    """A routing to some experts as one to all: its expert ``i`` is expert ``index[i]``.

    Outputs are equal. What only losses read is left out.

    >>> items = Items(torch.zeros(2, 1))
    >>> some = Routing.by_item(items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2)
    >>> among_all(items, some, [1, 3], 4).load.tolist()
    [0, 1, 0, 1]
    """
    return _among_all(routing.execution, items, routing, index, num_experts)


@singledispatch
def _among_all(
    execution: Execution | None,
    items: Items,
    routing: Routing,
    index: Sequence[int],
    num_experts: int,
) -> Routing:
    return _assigned(execution, routing, index, num_experts)


@_among_all.register
def _merged_among_all(
    execution: Merge, items: Items, routing: Routing, index: Sequence[int], num_experts: int
) -> Routing:
    merged = Merge(_spread(execution.weight, index, num_experts))
    return _assigned(merged, routing, index, num_experts)


@_among_all.register
def _defaults_among_all(
    execution: Defaults, items: Items, routing: Routing, index: Sequence[int], num_experts: int
) -> Routing:
    defaults = Defaults(_MeansAmongAll(execution.outputs, tuple(index), num_experts))
    return _assigned(defaults, routing, index, num_experts)


@dataclass(frozen=True)
class _MeansAmongAll(OutputMeans):
    """Mean outputs of some experts as those of all; nothing is recorded."""

    of_some: OutputMeans
    index: tuple[int, ...]
    num_experts: int

    @property
    def means(self) -> Tensor:
        return _spread(self.of_some.means.t(), self.index, self.num_experts).t()

    def record(self, expert: Tensor, outputs: Tensor) -> None:
        pass


def _assigned(
    execution: Execution | None, routing: Routing, index: Sequence[int], num_experts: int
) -> Routing:
    """The assignments of items to the experts ``index``."""
    places = torch.tensor(index, device=routing.expert.device)
    return Routing(
        routing.item,
        places[routing.expert],
        routing.weight,
        routing.num_items,
        num_experts,
        groups=routing.groups,
        mask=routing.mask,
        task=routing.task,
        given_probs=_spread(routing.to_dense(routing.probs), index, num_experts),
        execution=execution,
        fan_out=routing.fan_out,
        experts_per_item=routing.experts_per_item,
        requested=_spread(routing.requested_load, index, num_experts),
        given_importance=_spread(routing.importance, index, num_experts),
    )


@_among_all.register
def _slots_among_all(
    execution: Slots, items: Items, routing: Routing, index: Sequence[int], num_experts: int
) -> Routing:
    """Slots of the other experts are empty."""

    def spread(table: Tensor) -> Tensor:
        by_expert = table.view(*table.shape[:-1], len(index), -1).transpose(-2, -1)
        return _spread(by_expert, index, num_experts).transpose(-2, -1).flatten(-2)

    dispatch, combine = spread(execution.dispatch), spread(execution.combine)
    probs = _spread(routing.probs, index, num_experts)
    return Routing.by_slot(items, dispatch, combine, num_experts, probs=probs)


def _spread(values: Tensor, index: Sequence[int], num_experts: int) -> Tensor:
    """``(..., len(index))`` at the places ``index`` of ``(..., E)``, 0 elsewhere."""
    grid = values.new_zeros(*values.shape[:-1], num_experts)
    return grid.index_copy(-1, torch.tensor(index, device=values.device), values)
