"""Mixture-of-Depths: a share of each group's items is processed, the others skip the layer."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax_weights, top_k
from .gates import Gate, GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("depth")
class Depth(Router):
    """The items of a group with the highest scores are processed, the others skip the layer.

    A scalar gate ``r = x w`` selects the top ``C = ceil(share * n)`` of a group's ``n`` items;
    ``y_i = r_i sum_e p_ie FFN_e(x_i)`` for those and 0 for the others, which keep the residual
    stream only. With one expert that is Mixture-of-Depths; with more, a second gate selects K
    experts for each selected item: its staged form, MoDE. The selection depends on the whole
    group, including later items, so causal tasks reject this router.

    With a ``predictor`` that holds in training alone. A second scalar gate, which reads the items
    without a gradient to them, learns with an offset to predict who is selected, by the loss
    ``imitation``, which has to be given (``losses.imitation=0.01``). In evaluation the items are
    processed whose predicted score is positive, a probability above one half: a decision for each
    item by itself, of any number of items. So a score on a causal task uses no later item, and such
    tasks accept it (``Traits.causal_in_eval``); in training, selection still sees later items.

    Source: Raposo et al. 2024, 2404.02258, equation 1, sections 3.4, 3.5 and 4.3. The paper's
    predictor is a small network, ``router.predictor=mlp``.

    Args:
        share: fraction of a group's items that is processed, in (0, 1]. The paper's best is
            0.125 in every other block.
        k: experts per selected item.
        depth_gate: scores the items.
        predictor: gate that learns who is selected, for evaluation; None for the selection itself.

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
        predictor: GateSpec | None = None,
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < share <= 1:
            raise OptionError("share", share, "a number in (0, 1]")
        check_k(k, num_experts)
        self.share = share
        self.k = k
        self.gate = self.build_gate(gate)
        self.depth_gate = self.build_gate(depth_gate, outputs=1, option="depth_gate")
        self.predictor: Gate | None = None
        if predictor is not None:
            self.set_traits(causal_in_eval=type(self.gate).causal and type(self.depth_gate).causal)
            self.predictor = self.build_gate(predictor, outputs=1, option="predictor")
            odds = torch.tensor([share]).logit(eps=1e-3)  # gates have no constant term
            self.offset = nn.Parameter(odds)

    def forward(self, items: Items) -> Routing:
        depth = self.depth_gate(items)
        through = top_share(items, depth.detach().squeeze(1), self.share)
        extras = None
        if self.predictor is not None:
            score = self.predictor(replace(items, x=items.x.detach())) + self.offset
            both = torch.cat([torch.zeros_like(score), score], 1)
            extras = {"imitator": both, "imitated": through.long()}
            through = through if self.training else score.squeeze(1) > 0
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
            extras=extras,
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
