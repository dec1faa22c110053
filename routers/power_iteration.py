"""Top-K token choice by rows that are drawn to the principal directions of their experts."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ._router import ROUTERS, Router, Traits
from .blocks import build_weighting, check_k, require_projections, top_k
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("power_iteration")
class PowerIteration(Router):
    """Each item selects K experts by rows after one step of power iteration on their experts (MPI).

    ``h_e = scale (x . v_e)`` with ``v_e = r_e P_e P_e^T / ||r_e P_e P_e^T||``, a learned
    row ``r_e`` drawn to the direction that the expert's first projection ``P_e`` ``(D, P)``
    stretches most. Gradients go to the rows and, through ``P_e``, to the experts. The step costs
    ``4 E D P`` FLOPs a batch, whatever the number of items.

    Source: Manifold Power Iteration, 2606.12397, for the gate matrix of a SwiGLU. The step, the
    norm and the scale are as a public replication of its figure 1 has them; the paper's own text
    could not be checked.

    Args:
        weighting: ``renormalized`` (needs ``k`` of 2 or more) or ``probability``.
        scale: of the logits; 2 to 4 over ``sqrt(E)`` in the source.

    >>> router = PowerIteration(2, 2, k=1, weighting="probability")
    >>> _ = router.weight.data.fill_(1.0)
    >>> read = torch.tensor([[[3.0], [0.0]], [[0.0], [0.1]]])
    >>> router(Items(torch.tensor([[2.0, 1.0]]), projections=read)).logits.tolist()
    [[2.0, 1.0]]
    """

    traits = Traits(needs_projections=True)
    search_space = {"k": [2, 4], "scale": {"low": 0.25, "high": 4.0, "log": True}}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        weighting: str = "renormalized",
        scale: float = 1.0,
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 < scale < math.inf:
            raise OptionError("scale", scale, "a finite number > 0")
        self.k = k
        self.weighting = build_weighting(k, weighting)
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(num_experts, dim) * dim**-0.5)
        self.set_traits(convex=self.weighting.convex)

    def forward(self, items: Items) -> Routing:
        read = require_projections(items, self.num_experts, "power_iteration")
        row = self.weight.to(items.x.dtype).unsqueeze(1)
        direction = F.normalize((row @ read @ read.transpose(1, 2)).squeeze(1), dim=1)
        logits = F.linear(items.x, direction * self.scale)
        expert = top_k(logits, self.k)
        weight = self.weighting.weigh(logits.gather(1, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
