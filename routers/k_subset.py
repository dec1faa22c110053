"""Subsets of K experts drawn from an exact distribution, with its marginals as gradients."""

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing

#: Logarithm of a probability of 0 that is finite, so that its gradient is.
_NEVER = -1e30


@ROUTERS.register("k_subset")
class KSubset(Router):
    """Each item draws a subset of K experts; gradients are those of the experts' marginals.

    Experts are independent with probabilities ``sigma(h)``, given that ``least`` to ``k`` of them
    are chosen: ``P(S) = prod_{e in S} exp(h_e) / Z``, where ``Z`` sums over all such sets. ``S`` is
    drawn in training, and most likely in evaluation. Weights are ``softmax(h)[S]`` with the
    gradient of ``m * softmax(h)``, where ``m_e = P(e in S)`` is exact: a straight-through estimator
    of the draw.

    Source: ProbMoE, Zhao et al. 2026, 2606.01509, with the SIMPLE estimator of its authors' code:
    ``least=null`` is Exact-k, ``least < k`` Dynamic-k.

    Args:
        k: experts per item, or the most of them.
        least: the fewest experts of an item; None for ``k``.

    >>> h = torch.tensor([[0.0, 0.0, 0.0]])
    >>> [round(m, 4) for m in marginals(h, 2, 2)[0].tolist()]
    [0.6667, 0.6667, 0.6667]
    """

    traits = Traits(convex=False, exact_gradients=False)
    search_space = {"k": [1, 2, 4]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        least: int | None = None,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if least is not None and not 1 <= least <= k:
            raise OptionError("least", least, f"an integer in [1, k={k}], or null for k")
        self.k = k
        self.least = k if least is None else least
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        fixed = logits.detach()
        drawn = draw(fixed, self.least, self.k) if self.training else self._likeliest(fixed)
        chance = marginals(logits, self.least, self.k)
        weight = (drawn + chance - chance.detach()) * softmax(logits)
        target = float(self.k) if self.least == self.k else None
        return Routing.by_mask(items, weight, drawn, logits=logits, experts_per_item=target)

    def _likeliest(self, logits: Tensor) -> Tensor:
        """The best ``least`` experts, and up to ``k`` of those more likely chosen than not."""
        rank = logits.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < self.least) | ((rank < self.k) & (logits > 0))


def log_sums(logits: Tensor, k: int) -> Tensor:
    """Logarithms of elementary symmetric sums of ``exp(h)``, ``(N, E + 1, k + 1)``.

    Entry ``(i, c)`` is the sum over all sets of ``c`` of the first ``i`` experts.

    >>> log_sums(torch.zeros(1, 3), 2)[0, 3].exp().round().int().tolist()
    [1, 3, 3]
    """
    state = torch.full_like(logits[:, :1], _NEVER).repeat(1, k + 1)
    state = torch.cat([torch.zeros_like(state[:, :1]), state[:, 1:]], 1)
    states = [state]
    for score in torch.split(logits, 1, 1):
        more = state[:, 1:].logaddexp(state[:, :-1] + score)
        state = torch.cat([state[:, :1], more], 1)
        states.append(state)
    return torch.stack(states, 1)


def marginals(logits: Tensor, least: int, k: int) -> Tensor:
    """Probability of each expert to be in a set of ``least`` to ``k`` of them, ``(N, E)``."""
    before = log_sums(logits, k)
    after = log_sums(logits.flip(1), k).flip(1)
    total = before[:, -1, least:].logsumexp(-1, keepdim=True)
    # a set with expert e: some before e, e, the others after it
    with_e = [
        (before[:, :-1, :size] + after[:, 1:, :size].flip(-1)).logsumexp(-1)
        for size in range(least, k + 1)
    ]
    return (torch.stack(with_e, -1).logsumexp(-1) + logits - total).exp()


def draw(logits: Tensor, least: int, k: int) -> Tensor:
    """Draw a set of ``least`` to ``k`` experts for each item, ``(N, E)`` bool."""
    sums = log_sums(logits, k)
    sizes = sums[:, -1, least:]
    left = least + (sizes.softmax(-1) / torch.empty_like(sizes).exponential_()).argmax(-1)
    uniform = torch.rand_like(logits)
    taken = []
    for e in reversed(range(logits.shape[1])):
        rest = sums[:, e].gather(1, (left - 1).clamp_min(0).unsqueeze(1)).squeeze(1)
        whole = sums[:, e + 1].gather(1, left.unsqueeze(1)).squeeze(1)
        take = (uniform[:, e] < (rest + logits[:, e] - whole).exp()) & (left > 0)
        take = take | (left == e + 1)  # all that remain, also if rounding has it otherwise
        left = left - take.long()
        taken.append(take)
    return torch.stack(taken[::-1], 1)
