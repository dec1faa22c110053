"""Sinkhorn routing: a balanced transport plan between items and experts."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax_weights, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("sinkhorn")
class Sinkhorn(Router):
    """Items select experts by a transport plan with an equal share for each expert.

    In training the rows and columns of ``exp(h)`` over the ``n`` items of a group are scaled
    alternately, to sums of ``1`` and ``n / E``: an entropic transport plan ``exp(h + u_i + v_e)``.
    An item selects the K largest of its row, which depend on the group through ``v_e`` only. In
    eval items select the K largest ``h``. Weights are ``sigmoid(h)`` for one expert, as in BASE,
    and ``softmax(h)[S]`` for more. No balance loss is needed.

    A fixed number of rounds runs in log space, where logits cannot overflow. Sharper logits need
    more rounds; 20 suffice up to a standard deviation of about 10.

    Source: S-BASE, Clark et al. 2022, 2202.01169, section 3.1.

    Args:
        k: experts per item; 1 in the source.
        rounds: number of scalings of rows and columns.

    >>> from torch import tensor
    >>> scores, real = tensor([[[2.0, 0.0], [1.0, 0.0]]]), tensor([[True, True]])
    >>> column_potentials(scores, real, rounds=50).diff().item()
    1.5000
    """

    traits = Traits(per_item=False, causal=False, convex=False)
    search_space = {"k": [1, 2]}

    def __init__(
        self, dim: int, num_experts: int, *, k: int = 2, rounds: int = 20, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 1 <= rounds <= 1000:
            raise OptionError("rounds", rounds, "an integer in [1, 1000]")
        self.k = k
        self.rounds = rounds
        self.weigh = _sigmoid_weights if k == 1 else softmax_weights
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        scores = logits.detach()
        if self.training:
            grouped = items.grouped(scores)
            potentials = column_potentials(grouped, items.grouped(items.real()), self.rounds)
            scores = (grouped + potentials).view_as(logits)
        expert = top_k(scores, self.k)
        weight = self.weigh(self.gate.pick(items, logits, expert), logits)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


def column_potentials(scores: Tensor, real: Tensor, rounds: int) -> Tensor:
    """``v``, ``(G, 1, E)``: all columns of the plan sum to ``n / E`` for ``n`` items.

    ``scores`` are ``(G, L, E)``; ``real``, ``(G, L)`` bool, is False for padding.
    """
    scores = scores.masked_fill(~real.unsqueeze(-1), 0.0)
    absent = torch.zeros_like(scores).masked_fill(~real.unsqueeze(-1), -torch.inf)
    items = real.sum(1).clamp_min(1)[:, None, None].to(scores.dtype)
    share = (items / scores.shape[-1]).log()
    v = torch.zeros_like(scores[:, :1])
    for _ in range(rounds):
        u = -(scores + v).logsumexp(-1, keepdim=True)
        v = share - (scores + u + absent).logsumexp(1, keepdim=True)
    return v.nan_to_num(posinf=0.0)


def _sigmoid_weights(chosen: Tensor, logits: Tensor) -> Tensor:
    return chosen.sigmoid()
