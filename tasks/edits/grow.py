"""Further experts, made from the busiest."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from experts import CRITERIA, MoE, perturb_experts, router_noise
from routers import OptionError
from routers.plugins import unknown

from .._task import Backbone
from ._base import EDITS, Context, Edit, mixture_layers, take


def _clone(
    layer: MoE, originals: Sequence[int], copies: Sequence[int], noise: float, draw: torch.Generator
) -> None:
    """Noise on the scores of copies, which are selected last where the router can do that."""
    layer.router.defer(copies)
    for parameter, axis, entries, values in router_noise(layer.router, copies, noise, draw):
        parameter.data.index_add_(axis, entries, values)


def _split(
    layer: MoE, originals: Sequence[int], copies: Sequence[int], noise: float, draw: torch.Generator
) -> None:
    """Opposite noise on the scores of an expert and its copy, which divide its items."""
    own = router_noise(layer.router, originals, noise, draw)
    other = router_noise(layer.router, copies, noise, draw)
    for (parameter, axis, before, values), (_, _, entries, _) in zip(own, other, strict=True):
        parameter.data.index_add_(axis, before, values)
        parameter.data.index_add_(axis, entries, -values)


#: What is done to a router after the busiest experts were copied, by the value of ``how``.
WAYS: dict[str, Callable[[MoE, Sequence[int], Sequence[int], float, torch.Generator], None]] = {
    "clone": _clone,
    "split": _split,
}


@EDITS.register("grow")
class Grow(Edit):
    """Add copies of the busiest experts to each layer, for new data or more capacity.

    Outputs stay equal with ``how=clone`` for routers with a bias that only selects (``sigmoid``):
    copies have the lowest bias, and the balancing raises it in training. For ``hash``, whose
    table shares the ids of an expert among its copies, they do with ``noise=0``. Other routers
    have no state by which a copy takes part without a change: their weights are shares among more
    experts.

    Args:
        add: number of experts added to each layer.
        by: what a busy expert has: ``load``, ``mass`` or ``norm``, as in ``prune``.
        how: ``clone``, or ``split``: scores of an expert and its copy move apart.
        noise: standard deviation of noise on copies and scores, relative to that of each parameter.
        seed: of the noise.
    """

    def __init__(
        self,
        *,
        add: int,
        by: str = "load",
        how: str = "clone",
        noise: float = 0.01,
        seed: int = 0,
    ) -> None:
        if add < 1:
            raise OptionError("add", add, "an integer >= 1")
        if by not in CRITERIA:
            raise unknown("by", by, CRITERIA)
        if how not in WAYS:
            raise unknown("how", how, WAYS)
        if not 0 <= noise < 1:
            raise OptionError("noise", noise, "a number in [0, 1)")
        self.add, self.by, self.how, self.noise, self.seed = add, by, how, noise, seed

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = mixture_layers(network, "grow")
        fewest = min(layer.router.num_experts for layer in layers)
        if self.add > fewest:
            expected = f"an integer in [1, {fewest}], one copy for each of {fewest} experts"
            raise OptionError("add", self.add, expected)
        measures = context.measure(network, CRITERIA.get_part(self.by))
        draw, copied = torch.Generator().manual_seed(self.seed), list[list[int]]()
        for layer, measure in zip(layers, measures, strict=True):
            experts = layer.router.num_experts
            busiest = measure.value.argsort(descending=True, stable=True)[: self.add].tolist()
            copies = [*range(experts, experts + self.add)]
            new = take(network, layer, [*range(experts), *busiest])
            WAYS[self.how](new, busiest, copies, self.noise, draw)
            perturb_experts(new.bank, copies, self.noise, draw)
            copied.append(busiest)
        return {"copied": copied}
