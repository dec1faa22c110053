"""Experts drawn at random, with the number of experts and the weights as they are."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from routers import ConfigError, Items, Routing

from ..layers.moe import MoE
from ..layers.multi_gate import Gates
from ._base import INTERVENTIONS, Intervention, intervene


@INTERVENTIONS.register("random")
class RandomExperts(Intervention):
    """Every item gets as many random experts, with the same weights: a control of equal compute.

    The experts of an item are renamed by a permutation, which is drawn for each item with a fixed
    seed; so the number of rows stays, but not their spread over experts.
    """

    def __init__(self, layer: MoE) -> None:
        super().__init__(layer)
        if layer.router.traits.merges:
            raise _refusal(layer)
        if isinstance(layer.router, Gates) and not _all_choose_among_all(layer.router):
            raise ConfigError(
                "random: gates choose among different experts, so that an expert of one may not "
                "stand for that of another; leave it out"
            )
        self.generator = torch.Generator().manual_seed(0)

    @property
    def targets(self) -> Sequence[int | None]:
        return (None,)

    def apply(self, target: int | None) -> AbstractContextManager[None]:
        return intervene(self.layer, self._renamed)

    def _renamed(self, items: Items, routing: Routing) -> Routing:
        if not routing.supports_dropping:
            raise _refusal(self.layer)
        shape = (routing.num_items, routing.num_experts)
        names = torch.rand(shape, generator=self.generator).argsort(1).to(routing.expert.device)
        expert = names[routing.item, routing.expert]
        return replace(routing, expert=expert, fan_in=None, is_dense=False)


def _all_choose_among_all(gates: Gates) -> bool:
    return all(len(branch.experts) == gates.num_experts for branch in gates.topology.branches)


def _refusal(layer: MoE) -> ConfigError:
    return ConfigError(
        f"random: {type(layer.router).__name__} gives every item all experts, so that there are "
        "no others to draw; leave it out"
    )
