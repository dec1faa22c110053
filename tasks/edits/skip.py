"""Experts that are not run in evaluation where items give them little weight."""

from typing import Any

import torch
from torch import Tensor

from experts import Criterion, MoE
from routers import ConfigError, OptionError, Routing
from routers.routing import check_skip

from .._task import Backbone
from ._base import EDITS, Context, Edit, mixture_layers


class _Share(Criterion):
    """The share of its requested rows that each expert computes."""

    def __init__(self, layer: MoE, seed: int = 0) -> None:
        super().__init__(layer)
        self.rows = torch.zeros(2, layer.router.num_experts, dtype=torch.int64)

    @property
    def value(self) -> Tensor:
        return self.rows[0] / self.rows[1].clamp_min(1)

    def update(self, routing: Routing, norms: Tensor | None) -> None:
        if not routing.supports_dropping:
            raise ConfigError(
                f"skip: {type(self.layer.router).__name__} gives no single weight to the output "
                "of an expert for an item, so no assignment can be left out; edit a run with a "
                "router such as topk"
            )
        self.rows += torch.stack([routing.load, routing.requested_load]).cpu()


@EDITS.register("skip")
class Skip(Edit):
    """Leave out experts in evaluation where items give them little weight.

    It sets ``moe.skip`` of all layers; parameters stay, and training does not change. With
    ``moe.renormalize`` the weights that an item keeps are scaled back to their sum.

    Source: Lu et al. 2024, 2402.14800, for ``weight``; Huang et al. 2024, 2403.07652, section 3,
    for ``mass``.

    Args:
        weight: an assignment is left out if its weight is below this share of the largest of its
            item; None for no such rule.
        mass: an item keeps the fewest experts whose weights sum to this share of all its weights;
            None for no such rule.
    """

    def __init__(self, *, weight: float | None = None, mass: float | None = None) -> None:
        given = {"weight": weight, "mass": mass}
        self.rules = {name: share for name, share in given.items() if share is not None}
        if not self.rules:
            raise OptionError.about("weight", ": required, or mass; as in {skip: {weight: 0.2}}")
        check_skip(self.rules)

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers, config = mixture_layers(network, "skip"), context.config
        for layer in layers:
            layer.skip = self.rules
        config.moe.skip = self.rules
        for entry in config.layers.values():
            entry.get("moe", {}).pop("skip", None)
        shares = [found.value for found in context.measure(network, _Share)]
        return {"computed": [[round(share, 4) for share in each.tolist()] for each in shares]}
