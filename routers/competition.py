"""Top-K token choice by a gate that learns which experts respond most."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ._router import ROUTERS, Router
from .blocks import check_k_above_one, renormalized_weights, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Combine, Items, OutputCombiner, Routing


@ROUTERS.register("competition")
class Competition(Router):
    """Each item selects K experts; in training all work on some items, and the strongest win.

    In training a random share ``rate`` of the items goes to all experts, and such an item gets
    ``sum_{e in S} a_e o_e / sum_{e in S} a_e``: ``a_e``, the response of expert ``e``, is the mean
    of ``log(1 + exp(o_e))`` over its output ``o_e``, and ``S`` are the K largest. The loss
    ``response_distance`` teaches the gate these responses. For other items the gate selects:
    ``S = topk(h)`` with weights ``softmax(h[S])``. An item that capacity leaves no more than K
    experts does not compete, and gets what is left of ``1 / E`` of each output.

    Source: CompeteSMoE, Nguyen et al. 2025, 2505.13380, and its code, in which all items of some
    batches compete, after a warm-up.

    Args:
        rate: share of the items for which experts compete in training, in [0, 1).

    >>> router = Competition(4, 8, k=2).eval()
    >>> router(Items(torch.randn(5, 4))).load.sum().item()
    10
    """

    search_space = {"k": [2, 4], "rate": [0.05, 0.1, 0.2]}
    default_losses = {"switch": 0.01, "response_distance": 1.0}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        rate: float = 0.1,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k_above_one(k, num_experts)
        if not 0 <= rate < 1:
            raise OptionError("rate", rate, "a number in [0, 1)")
        self.k = k
        self.rate = rate
        self.execution = Combine(StrongestOutputs(k))
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = top_k(logits, self.k)
        chosen = renormalized_weights(self.gate.pick(items, logits, expert), logits)
        weight = torch.zeros_like(logits).scatter(1, expert, chosen)
        works = torch.zeros_like(logits, dtype=torch.bool).scatter(1, expert, True)
        if self.training:
            compete = torch.rand_like(logits[:, :1]) < self.rate
            weight = torch.where(compete, 1 / self.num_experts, weight)
            works = works | compete
        return Routing.by_mask(
            items,
            weight,
            works,
            logits=logits,
            execution=self.execution,
            experts_per_item=None if self.training else float(self.k),
        )


@dataclass(frozen=True)
class StrongestOutputs(OutputCombiner):
    """Weighted sums; for items with more than K experts the mean of the K strongest, by response.

    >>> outputs = torch.tensor([[[30.0], [10.0], [-5.0]]])
    >>> few, all_three = torch.tensor([[0.5, 0.0, 0.5]]), torch.full((1, 3), 1 / 3)
    >>> [StrongestOutputs(2).combine(outputs, each).item() for each in (few, all_three)]
    [12.5, 25.0]
    """

    k: int

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        works = weight != 0
        response = torch.where(works, F.softplus(outputs).mean(-1), 0.0)
        strongest = top_k(response, self.k)
        share = torch.zeros_like(response).scatter(1, strongest, response.gather(1, strongest))
        share = share / share.sum(1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
        competes = works.sum(1, keepdim=True) > self.k
        return (torch.where(competes, share, weight).unsqueeze(1) @ outputs).squeeze(1)

    def flops(self, num_items: int, num_experts: int, features: int) -> int:
        return 2 * num_items * num_experts * features
