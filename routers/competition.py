"""Top-K token choice by a gate that learns which experts would respond most."""

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
    """Each item selects K experts; in some training batches all work and the strongest win.

    In a share ``rate`` of the training batches an item goes to all experts and its output is
    ``sum_{e in S} a_e o_e / sum_{e in S} a_e``. Here ``a_e``, the response of expert ``e``, is the
    mean of ``log(1 + exp(o_e))`` over its output ``o_e``, and ``S`` the K largest. The loss
    ``imitation`` teaches the gate these responses. In other batches and in evaluation the gate
    selects: ``S = topk(h)`` with weights ``softmax(h[S])``. A batch with competition costs as much
    as ``soft_mixture``.

    Source: CompeteSMoE, Nguyen et al. 2025, 2505.13380, and its code, which also has a warm-up
    without competition and limits the layers that compete at a time.

    Args:
        rate: share of the training batches in which experts compete, in [0, 1).

    >>> router = Competition(4, 8, k=2, rate=0.0)
    >>> router(Items(torch.randn(5, 4))).load.sum().item()
    10
    """

    search_space = {"k": [2, 4], "rate": [0.05, 0.1, 0.2]}
    default_losses = {"switch": 0.01, "imitation": 1.0}

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
        if self.training and torch.rand(()) < self.rate:
            even = torch.full_like(logits, 1 / self.num_experts)
            return Routing.by_mask(items, even, logits=logits, execution=self.execution)
        expert = top_k(logits, self.k)
        weight = renormalized_weights(self.gate.pick(items, logits, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


@dataclass(frozen=True)
class StrongestOutputs(OutputCombiner):
    """The mean of an item's K outputs of the largest response, weighted by response.

    >>> outputs = torch.tensor([[[30.0], [10.0], [-5.0]]])
    >>> StrongestOutputs(2).combine(outputs, torch.ones(1, 3)).item()
    25.0
    """

    k: int

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        response = torch.where(weight != 0, F.softplus(outputs).mean(-1), 0.0)
        strongest = top_k(response, self.k)
        share = torch.zeros_like(response).scatter(1, strongest, response.gather(1, strongest))
        total = share.sum(1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
        return ((share / total).unsqueeze(1) @ outputs).squeeze(1)

    def flops(self, num_items: int, num_experts: int, features: int) -> int:
        return 2 * num_items * num_experts * features
