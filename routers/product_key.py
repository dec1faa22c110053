"""Product-key routing: top-K among very many experts with two short lists of keys."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._router import ROUTERS, Router
from .blocks import check_k_above_one, num_columns, top_k
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("product_key")
class ProductKey(Router):
    """Each item selects its K best of up to a million experts and scores only a few.

    Expert ``i b + j`` has the key ``(r_i, c_j)``: ``a`` row keys and ``b`` column keys make
    ``E = a b`` experts, as near to a square as ``E`` allows. ``q = norm(x W)`` is split in two;
    the best K of ``q_1 . r_i`` and of ``q_2 . c_j`` yield K^2 sums, which include the best K
    of all ``E``: ``a + b`` scores instead of ``a b``. ``logits`` and ``probs`` refer to those
    sums (``Routing.candidates``). Each head has a separate query and keys; the softmaxes over
    their K best are summed, ``probs`` is the mean of their softmaxes over all candidates,
    ``logits`` its logarithm. The ``z`` loss is the mean over heads of each head's scores.
    Queries have a layer norm instead of the papers' batch norm, so that items are independent.

    Source: Lample et al. 2019, 1907.05242, equations 1 to 3 and section 3.2; with experts of
    one neuron (``expert=singleton``) PEER, He 2024, 2407.04153, section 2.

    Args:
        num_experts: ``E``, not prime; a square is cheapest.
        k: experts per item and head, >= 2: a softmax over one expert has no gradient.
        heads: number of queries per item.
        width: size of a query, even.

    >>> router = ProductKey(4, 2**20, k=2)
    >>> routing = router(Items(torch.randn(5, 4)))
    >>> routing.load.sum().item(), tuple(routing.logits.shape)
    (10, (5, 4))
    """

    search_space = {"k": [2, 4], "heads": [1, 2]}
    default_losses = {"switch": 0.01}

    def __init__(
        self, dim: int, num_experts: int, *, k: int = 2, heads: int = 1, width: int = 32
    ) -> None:
        super().__init__(dim, num_experts)
        self.columns = num_columns(num_experts)
        check_k_above_one(k, num_experts)
        if heads < 1:
            raise OptionError("heads", heads, "an integer >= 1")
        if width < 4 or width % 2:
            raise OptionError("width", width, "an even integer >= 4")
        self.k, self.heads = k, heads
        self.set_traits(convex=heads == 1)
        half = width // 2
        self.query = nn.Parameter(torch.randn(heads, width, dim) * dim**-0.5)
        self.row_key = _keys(heads, num_experts // self.columns, half)
        self.column_key = _keys(heads, self.columns, half)

    def forward(self, items: Items) -> Routing:
        x = items.x
        query, *keys = (p.to(x.dtype) for p in (self.query, self.row_key, self.column_key))
        q = F.layer_norm(torch.einsum("nd,hwd->hnw", x, query), query.shape[1:2])
        halves = [
            _best(half @ key.transpose(1, 2), self.k)
            for half, key in zip(q.chunk(2, -1), keys, strict=True)
        ]
        (rows, row), (columns, column) = halves
        logits = (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(2).transpose(0, 1)
        candidates = row.unsqueeze(-1) * self.columns + column.unsqueeze(-2)
        candidates = candidates.flatten(2).transpose(0, 1)  # (N, H, S)
        chosen = top_k(logits, self.k)
        weight = logits.gather(2, chosen).softmax(-1)
        expert, weight, keep = merged_heads(candidates.gather(2, chosen), weight)
        scored, probs, _ = merged_heads(candidates, logits.softmax(-1) / self.heads)
        return Routing.by_item(
            items,
            expert,
            weight,
            self.num_experts,
            keep=keep,
            logits=probs.clamp_min(torch.finfo(probs.dtype).tiny).log(),
            candidates=scored,
            extras={"log_partition": logits.logsumexp(-1)},
        )


def _keys(heads: int, count: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(heads, count, width) * width**-0.5)


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``min(k, a)`` largest of scores ``(H, N, a)``, and their indices."""
    place = top_k(scores, min(k, scores.shape[-1]))
    return scores.gather(-1, place), place


def merged_heads(expert: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Merge equal experts of an item's heads and sum their weights.

    Of experts, distinct within a head, and weights ``(N, H, K)`` to experts and weights
    ``(N, H K)``, and a mask of the places in use; None for all.

    >>> expert, weight = torch.tensor([[[5, 2], [2, 7]]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> [part.tolist() for part in merged_heads(expert, weight)]
    [[[2, 5, 7, 0]], [[5.0, 1.0, 4.0, 0.0]], [[True, True, True, False]]]
    """
    expert, weight, heads = expert.flatten(1), weight.flatten(1), expert.shape[1]
    if heads == 1:
        return expert, weight, None
    expert, order = expert.sort(-1)
    weight = weight.gather(1, order)
    place = F.pad(expert.diff(dim=-1).sign(), (1, 0)).cumsum(-1)  # index among the distinct
    keep = torch.arange(expert.shape[1], device=expert.device) <= place[:, -1:]
    return (
        torch.zeros_like(expert).scatter(1, place, expert),
        torch.zeros_like(weight).scatter_add(1, place, weight),
        keep,
    )
