"""Removal of the experts that are needed least."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from experts import CRITERIA
from routers import ConfigError, OptionError
from routers.plugins import unknown

from .._task import Backbone
from ._base import EDITS, Context, Edit, check_fewer, mixture_layers, take


def _per_layer(values: Sequence[Tensor], keep: int) -> list[list[int]]:
    """The ``keep`` experts of every layer with the largest values."""
    return [value.argsort(descending=True, stable=True)[:keep].tolist() for value in values]


def _over_layers(values: Sequence[Tensor], keep: int) -> list[list[int]]:
    """``keep`` experts a layer on average, at least one, by their shares of a layer's values.

    >>> _over_layers([torch.tensor([60.0, 30, 10]), torch.tensor([1.0, 4, 5])], keep=2)
    [[0, 1], [2, 1]]
    """
    shares = [value / value.sum().clamp_min(1e-300) for value in values]
    kept = _per_layer(shares, 1)
    rest = [
        (share, -layer, -expert)
        for layer, each in enumerate(shares)
        for expert, share in enumerate(each.tolist())
        if expert not in kept[layer]
    ]
    for _, layer, expert in sorted(rest, reverse=True)[: keep * len(values) - len(values)]:
        kept[-layer].append(-expert)
    return kept


#: Experts that are kept in each layer, by the value of ``scope``.
SCOPES: dict[str, Callable[[Sequence[Tensor], int], list[list[int]]]] = {
    "layer": _per_layer,
    "global": _over_layers,
}


@EDITS.register("prune")
class Prune(Edit):
    """Remove the experts that are needed least, measured on validation data.

    Items of a removed expert are routed among the others. Kept experts stay in their order.

    Source: REAP, Lasby et al. 2025, 2510.13999, for ``by=norm``; by frequency as in
    its baselines.

    Args:
        keep: number of experts that stay, in every layer or a layer on average.
        by: what a needed expert has: ``load``, gate ``mass``, ``norm`` (mean of weight times norm
            of the output over its items), or ``random`` for a control.
        scope: ``layer`` for the same number in each, ``global`` for the largest shares over layers.
        seed: of ``by=random``.
    """

    def __init__(self, *, keep: int, by: str = "norm", scope: str = "layer", seed: int = 0) -> None:
        if keep < 1:
            raise OptionError("keep", keep, "an integer >= 1")
        if by not in CRITERIA:
            raise unknown("by", by, CRITERIA)
        if scope not in SCOPES:
            raise unknown("scope", scope, SCOPES)
        self.keep, self.by, self.scope, self.seed = keep, by, scope, seed

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = mixture_layers(network, "prune")
        check_fewer(layers, "keep", self.keep)
        criterion, seeds = CRITERIA.get_part(self.by), count(self.seed)
        measures = context.measure(network, lambda layer: criterion(layer, next(seeds)))
        kept = [sorted(each) for each in SCOPES[self.scope]([m.value for m in measures], self.keep)]
        if any(not torch.isfinite(measure.value).all() for measure in measures):
            raise ConfigError("prune: outputs on validation data are not finite; train again")
        for layer, index in zip(layers, kept, strict=True):
            take(network, layer, index)
        return {"kept": kept}
