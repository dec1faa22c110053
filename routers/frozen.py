"""Control: any router with frozen initial parameters."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("frozen")
class Frozen(Router):
    """Control: any learned router with frozen random parameters.

    Selection, layout, noise and cost are the same, without gradients and without ``adapt``, so
    the gain of the named router over this control is the value of its learning. ``of=topk`` is
    ``random_fixed``.

    Source: the fixed router of SMoE-Dropout, Chen et al. 2023, 2303.01610, for any router; the
    Soft MoE paper compares with fixed dispatch and combine weights (2308.00951, table 2).

    Args:
        of: name of a router with the trait ``learned``.
        options: options of that router; None for its defaults.

    >>> router = Frozen(4, 8, of="expert_choice", options={"factor": 1.0})
    >>> sum(p.numel() for p in router.parameters() if p.requires_grad)
    0
    """

    traits = Traits(learned=False)
    search_space = {"of": ["noisy_topk", "soft_mixture", "expert_choice"]}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        of: str = "noisy_topk",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(dim, num_experts)
        try:
            self.router: Router = ROUTERS.build(of, dim, num_experts, **(options or {}))
        except OptionError as error:
            key, dot, path = error.name.partition(".")
            if key != ROUTERS.key:
                raise  # about num_experts
            raise error.about("options" + dot + path if path else "of", error.problem) from None
        if not self.router.traits.learned:
            raise OptionError("of", of, "a router with the trait learned, such as topk")
        self.router.requires_grad_(False)
        self.traits = replace(self.router.traits, learned=False)

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        self.router.prepare(ids, features)

    def forward(self, items: Items) -> Routing:
        routing = self.router.route(items)
        extras = {name: extra for name, extra in routing.extras.items() if name != "counts"}
        return replace(routing, extras=extras)  # a frozen router does not adapt
