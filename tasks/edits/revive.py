"""Dead experts replaced by noisy copies of busy ones."""

from typing import Any

import torch
from torch import Tensor

from experts import CRITERIA, MoE, perturb_experts, router_noise, take_experts
from routers import OptionError

from .._task import Backbone
from ._base import EDITS, Context, Edit, mixture_layers, replace_layer


@EDITS.register("revive")
class Revive(Edit):
    """Replace dead experts by noisy copies of the busiest ones.

    An expert is dead if its load on validation data is below a share of an even load. Each copy
    is of another busy expert as long as there are enough; all other experts keep their parameters.
    In training the callback ``revive`` does the same (``trainer.callbacks=[revive]``).

    Source: resets of unused codes in vector quantization, Dhariwal et al. 2020, 2005.00341,
    section 3.1, for experts.

    Args:
        below: share of an even load below which an expert is dead, in (0, 1).
        noise: standard deviation of noise on copies and their scores, relative to that of each
            parameter.
        seed: of the noise.
    """

    def __init__(self, *, below: float = 0.01, noise: float = 0.05, seed: int = 0) -> None:
        if not 0 < below < 1:
            raise OptionError("below", below, "a number in (0, 1)")
        if not 0 <= noise < 1:
            raise OptionError("noise", noise, "a number in [0, 1)")
        self.below, self.noise, self.seed = below, noise, seed

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = mixture_layers(network, "revive")
        measures = context.measure(network, CRITERIA.get_part("load"))
        draw, revived = torch.Generator().manual_seed(self.seed), list[dict[int, int]]()
        for layer, measure in zip(layers, measures, strict=True):
            copied = self.copies(measure.value)
            if copied:
                replace_layer(network, layer, self.revived(layer, copied, draw))
            revived.append(copied)
        return {"revived": revived}

    def copies(self, load: Tensor) -> dict[int, int]:
        """The busy expert that each dead one becomes a copy of, for a load ``(E,)``.

        >>> Revive(below=0.1).copies(torch.tensor([0, 50, 1, 99]))
        {0: 3, 2: 1}
        """
        dead = (load < self.below * load.double().mean()).nonzero().flatten().tolist()
        busy = load.argsort(descending=True, stable=True).tolist()
        busy = [expert for expert in busy if expert not in dead]
        return {expert: busy[place % len(busy)] for place, expert in enumerate(dead)}

    def revived(self, layer: MoE, copied: dict[int, int], draw: torch.Generator) -> MoE:
        """A layer with copies in the place of dead experts."""
        experts = layer.router.num_experts
        new = take_experts(layer, [copied.get(expert, expert) for expert in range(experts)])
        perturb_experts(new.bank, [*copied], self.noise, draw)
        for parameter, axis, entries, values in router_noise(
            new.router, [*copied], self.noise, draw
        ):
            parameter.data.index_add_(axis, entries, values)
        return new
