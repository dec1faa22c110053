"""Experts averaged with the most similar ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from experts import CRITERIA, Bank, MoE, Neurons, RouteSimilarity, aligned, find_neurons
from routers import ConfigError, OptionError
from routers.plugins import unknown

from .._task import Backbone
from ._base import EDITS, Context, Edit, check_fewer, mixture_layers, take

#: The parameters of an expert as they fit to those of another: bank, expert, other.
Alignment = Callable[[Bank, int, int], list[Tensor]]


def _as_they_are(bank: Bank, expert: int, to: int) -> list[Tensor]:
    return [bank.get_parameter(name)[expert].detach() for name in bank.expert_parameters]


def _by_neurons(neurons: Neurons) -> Alignment:
    def fitted(bank: Bank, expert: int, to: int) -> list[Tensor]:
        order = aligned(bank, neurons, expert, to)
        parts = _as_they_are(bank, expert, to)
        names = bank.expert_parameters
        return [neurons.select(n, values, order) for n, values in zip(names, parts, strict=True)]

    return fitted


#: Makes an alignment for a bank, by the value of ``align``.
ALIGNMENTS: dict[str, Callable[[Bank], Alignment]] = {
    "neurons": lambda bank: _by_neurons(find_neurons(bank)),
    "none": lambda bank: _as_they_are,
}


def _of_weights(network: Backbone, context: Context) -> list[Tensor | None]:
    return [None for _ in mixture_layers(network, "merge")]


def _of_routes(network: Backbone, context: Context) -> list[Tensor | None]:
    return [found.value for found in context.measure(network, RouteSimilarity)]


#: Similarity of the experts of each layer, ``(E, E)``, by the value of ``by``; None for the cosine
#: between weights.
SIMILARITIES: dict[str, Callable[[Backbone, Context], list[Tensor | None]]] = {
    "weights": _of_weights,
    "routes": _of_routes,
}


@EDITS.register("merge")
class Merge(Edit):
    """Average every expert into the most similar of the busiest ones.

    The busiest ``to`` experts of each layer lead a group each, every other expert joins the
    leader that it is most similar to, and parameters are means weighted by load on validation
    data. The neurons of an expert are first brought into the order that fits to its leader's. The
    router keeps the scores of leaders; a table sends the items of a group to its expert.

    Source: M-SMoE, Li et al. 2023, 2310.01334, sections 3.1 and 3.2.

    Args:
        to: number of experts in each layer afterwards.
        by: similarity of ``weights`` (cosine, after alignment), or of ``routes`` (cosine between
            the scores for items).
        align: ``neurons`` by optimal assignment, or ``none``.
    """

    def __init__(self, *, to: int, by: str = "routes", align: str = "neurons") -> None:
        if to < 1:
            raise OptionError("to", to, "an integer >= 1")
        if by not in SIMILARITIES:
            raise unknown("by", by, SIMILARITIES)
        if align not in ALIGNMENTS:
            raise unknown("align", align, ALIGNMENTS)
        self.to, self.by, self.align = to, by, align

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = mixture_layers(network, "merge")
        check_fewer(layers, "to", self.to)
        for layer in layers:
            if not layer.bank.expert_parameters:
                raise ConfigError(
                    f"merge: {type(layer.bank).__name__} has experts of several forms, whose "
                    "parameters have no mean; use prune, or experts of one form such as mlp"
                )
        loads = [found.value for found in context.measure(network, CRITERIA.get_part("load"))]
        similar = SIMILARITIES[self.by](network, context)
        groups = list[list[list[int]]]()
        for layer, load, likeness in zip(layers, loads, similar, strict=True):
            groups.append(self._merge(network, layer, load, likeness))
        return {"groups": groups}

    @torch.no_grad()
    def _merge(
        self, network: Backbone, layer: MoE, load: Tensor, likeness: Tensor | None
    ) -> list[list[int]]:
        """Merge the experts of a layer; returns the old experts of every new one, leader first."""
        fit, bank = ALIGNMENTS[self.align](layer.bank), layer.bank
        leaders = sorted(load.argsort(descending=True, stable=True)[: self.to].tolist())
        groups = [[leader] for leader in leaders]
        for expert in range(bank.num_experts):
            if expert not in leaders:
                likes = [
                    _cosine(bank, fit, expert, leader)
                    if likeness is None
                    else float(likeness[expert, leader])
                    for leader in leaders
                ]
                groups[likes.index(max(likes))].append(expert)
        heir = {expert: place for place, group in enumerate(groups) for expert in group}
        heirs = [heir[expert] for expert in range(bank.num_experts)]
        new = take(network, layer, leaders, heirs)
        for place, group in enumerate(groups):
            weight = load[group] + 1e-9 * (1 + load.sum())  # experts without items have a mean too
            weight = weight / weight.sum()
            parts = zip(*(fit(bank, expert, group[0]) for expert in group), strict=True)
            for target, values in zip(new.bank.parameters_of(place), parts, strict=True):
                stacked = torch.stack([each.double() for each in values])
                target.copy_(torch.tensordot(weight.to(stacked.device), stacked, 1))
        return groups


def _cosine(bank: Bank, fit: Alignment, expert: int, to: int) -> float:
    """Cosine between the parameters of two experts, the first aligned to the second."""
    one, two = (
        torch.cat([values.double().flatten() for values in parts])
        for parts in (fit(bank, expert, to), _as_they_are(bank, to, to))
    )
    return float(F.cosine_similarity(one, two, dim=0))
