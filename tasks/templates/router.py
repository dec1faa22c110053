"""A router: which experts work on which items."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from routers import ROUTERS, Items, OptionError, Router, Routing, Traits


@ROUTERS.register("my_router")
class MyRouter(Router):
    """Each item selects the K experts with the highest linear scores.

    Replace this by what your router does: lists show the first line of a docstring.

    ``S = topk(x W / temperature)``, weighted by the softmax over ``S``.
    Source: Mixtral, 2401.04088, section 2.1.

    Args:
        k: experts per item.
        temperature: divides the scores.

    >>> MyRouter(4, 8)(torch.ones(5, 4)).load.sum().item()
    10
    """

    # Properties that the checks prove. These are the defaults: the router learns, and routes each
    # item by itself. One that looks at a whole sequence declares Traits(per_item=False, ...).
    traits = Traits()
    # What a sweep varies, and the auxiliary losses of a run that names none.
    search_space: ClassVar[Mapping[str, Any]] = {"temperature": {"low": 0.5, "high": 2.0}}
    default_losses: ClassVar[Mapping[str, float]] = {"switch": 0.01}

    # Keyword arguments are the options: router.k=4 on the command line.
    def __init__(self, dim: int, num_experts: int, *, k: int = 2, temperature: float = 1.0) -> None:
        super().__init__(dim, num_experts)
        if not 2 <= k <= num_experts:
            raise OptionError("k", k, f"an integer in [2, num_experts={num_experts}]")
        if not temperature > 0:
            raise OptionError("temperature", temperature, "a number > 0")
        self.k = k
        self.temperature = temperature
        self.weight = nn.Parameter(torch.randn(num_experts, dim) * dim**-0.5)

    def forward(self, items: Items) -> Routing:
        """Route ``items.x`` ``(N, D)``. A router may also read ``items.mask``, ids and tasks."""
        logits = F.linear(items.x, self.weight.to(items.x.dtype)) / self.temperature  # (N, E)
        best, expert = logits.topk(self.k)
        # logits let the auxiliary losses see the scores of all experts
        return Routing.by_item(items, expert, best.softmax(-1), self.num_experts, logits=logits)
