"""Experts that select themselves by the strength of an activation."""

from ._router import ROUTERS, Router, Traits
from .blocks import WEIGHTINGS, build_weighting, check_k, require_projections, top_k
from .routing import Items, Routing


@ROUTERS.register("autonomous")
class Autonomous(Router):
    """Each item is processed by the K experts whose first activation of it is largest (AoE).

    ``h_e = ||x P_e||_2`` with the expert's own first projection ``P_e`` ``(D, P)``; the weights are
    ``softmax(h[S])``. There is no gate and no parameter: the task's gradient goes through the
    scores into the experts. Scores cost ``2 E D P`` FLOPs per item, half of an ``mlp`` of every
    expert; experts called ``factorized`` make ``P`` small.

    Source: Autonomy-of-Experts, Lv et al. 2025, 2501.13074. The paper's equations could not be
    checked; that norms are normalized over the selected experts is from secondary texts.

    Args:
        weighting: ``renormalized`` (needs ``k`` of 2 or more) or ``probability``.

    >>> import torch
    >>> read = torch.tensor([[[3.0]], [[-5.0]], [[1.0]]])
    >>> routing = Autonomous(1, 3, k=2)(Items(torch.tensor([[2.0]]), projections=read))
    >>> routing.expert.tolist(), routing.logits.tolist()
    ([1, 0], [[6.0, 10.0, 2.0]])
    """

    traits = Traits(learned=False, needs_projections=True)
    search_space = {"k": [2, 4], "weighting": list(WEIGHTINGS)}
    default_losses = {"switch": 0.01}

    def __init__(
        self, dim: int, num_experts: int, *, k: int = 2, weighting: str = "renormalized"
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        self.k = k
        self.weighting = build_weighting(k, weighting)
        self.set_traits(convex=self.weighting.convex)

    def forward(self, items: Items) -> Routing:
        read = require_projections(items, self.num_experts, "autonomous")
        logits = (items.x @ read).norm(dim=-1).t()
        expert = top_k(logits, self.k)
        weight = self.weighting.weigh(logits.gather(1, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
