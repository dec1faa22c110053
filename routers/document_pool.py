"""Top-K within a pool of experts that each group has for all its items."""

import math

import torch

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("document_pool")
class DocumentPool(Router):
    """Each item selects its K best experts from a pool that its group, a document, shares.

    The pool of a group is the ``C`` experts with the largest sums of ``p = softmax(h)`` over its
    items; ``S = topk(h)`` within it, weighted by the softmax of ``h`` over the pool. In training
    ``C`` is drawn for every group, in evaluation it is fixed, so that a part of the experts serves
    a domain. The pool depends on all items of the group, including later ones, so causal tasks
    reject this router.

    Source: EMO, Wang et al. 2026, 2605.06663, as the authors' code has it. Balance losses read
    scores over all experts; the paper compares loads over many documents, never within one.

    Args:
        k: experts per item.
        smallest: least share of the experts in a pool in training, in (0, 1].
        largest: largest share in training, in [smallest, 1].
        share: share in evaluation, in (0, 1]. Pools have ``k`` experts or more.

    >>> router = DocumentPool(4, 8, k=2, share=0.25).eval()
    >>> router(Items(torch.randn(20, 4))).assigned_mask.any(0).sum().item()
    2
    """

    traits = Traits(per_item=False, causal=False, convex=False)
    search_space = {"k": [1, 2, 4], "share": [0.25, 0.5, 1.0]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        smallest: float = 0.25,
        largest: float = 1.0,
        share: float = 0.5,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 < smallest <= 1:
            raise OptionError("smallest", smallest, "a number in (0, 1]")
        if not smallest <= largest <= 1:
            raise OptionError("largest", largest, f"a number in [smallest={smallest}, 1]")
        if not 0 < share <= 1:
            raise OptionError("share", share, "a number in (0, 1]")
        self.k = k
        self.sizes = (self._size(smallest), self._size(largest))
        self.size = self._size(share)
        self.gate = self.build_gate(gate)

    def _size(self, share: float) -> int:
        return max(self.k, math.ceil(share * self.num_experts - 1e-9))

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        sums = items.grouped(softmax(logits.detach()) * items.real().unsqueeze(1)).sum(1)
        if self.training:
            least, most = self.sizes
            size = torch.randint(least, most + 1, (items.groups, 1)).to(sums.device)
        else:
            size = torch.full((items.groups, 1), self.size, device=sums.device)
        rank = sums.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        pool = (rank < size).repeat_interleave(items.group_length, 0)
        probs = softmax(logits.masked_fill(~pool, -torch.inf))
        expert = top_k(logits.detach().masked_fill(~pool, -torch.inf), self.k)
        weight = probs.gather(1, expert)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
