"""Mixture-of-Depths: a share of each group's items is processed, the others skip the layer."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax_weights, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("depth")
class Depth(Router):
    """The items of a group with the highest scores are processed, the others skip the layer.

    A scalar gate ``r = x w`` selects the top ``C = ceil(share * n)`` of a group's ``n`` items;
    ``y_i = r_i sum_e p_ie FFN_e(x_i)`` for those and 0 for the others, which keep the residual
    stream only. With one expert that is Mixture-of-Depths; with more, a second gate selects K
    experts for each selected item: its staged form, MoDE. The selection depends on the whole
    group, including later items, in training and in eval, so causal tasks reject this router.

    Source: Raposo et al. 2024, 2404.02258, equation 1, sections 3.4 and 4.3.

    Args:
        share: fraction of a group's items that is processed, in (0, 1]. The paper's best is
            0.125 in every other block.
        k: experts per selected item.
        depth_gate: scores the items.

    >>> import torch
    >>> routing = Depth(4, 2, share=0.25)(Items(torch.randn(8, 4)))
    >>> routing.load.sum().item()
    2
    """

    traits = Traits(per_item=False, causal=False, convex=False)
    search_space = {"share": [0.125, 0.25, 0.5], "k": [1, 2]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        share: float = 0.5,
        k: int = 1,
        gate: GateSpec = "linear",
        depth_gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < share <= 1:
            raise OptionError("share", share, "a number in (0, 1]")
        check_k(k, num_experts)
        self.share = share
        self.k = k
        self.gate = self.build_gate(gate)
        self.depth_gate = self.build_gate(depth_gate, outputs=1, option="depth_gate")

    def forward(self, items: Items) -> Routing:
        depth = self.depth_gate(items)
        through = top_share(items, depth.detach().squeeze(1), self.share)
        logits = self.gate(items)
        expert = top_k(logits, self.k)
        weight = softmax_weights(self.gate.pick(items, logits, expert), logits)
        return Routing.by_item(
            items,
            expert,
            depth * weight,
            self.num_experts,
            keep=through.unsqueeze(1).expand_as(expert),
            logits=logits,
            experts_per_item=self.share * self.k,
        )


def top_share(items: Items, scores: Tensor, share: float) -> Tensor:
    """Mask of the ``ceil(share * n)`` of each group's ``n`` unpadded items that score highest.

    ``scores`` and the mask are ``(N,)``; ties are broken by position.

    >>> top_share(Items(torch.zeros(3, 1)), torch.tensor([0.1, 0.5, 0.2]), 0.5).tolist()
    [False, True, True]
    """
    real = items.grouped(items.real())
    ranked = items.grouped(scores).masked_fill(~real, -torch.inf)
    rank = ranked.argsort(dim=1, descending=True, stable=True).argsort(1)
    most = (share * real.sum(1, keepdim=True).double() - 1e-9).ceil()
    return ((rank < most) & real).flatten()
