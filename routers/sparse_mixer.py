"""Top-K sampled from the gate, with gradients that estimate those of the choice."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax
from .gates import GateSpec
from .plugins import OptionError, unknown
from .routing import Items, Routing


class Estimator(NamedTuple):
    """A numerical integration of the loss along an expert's weight.

    Attributes:
        point: share of the weight at which a sampled expert is evaluated otherwise.
        full: probability that it is evaluated at the whole weight instead.
        gain: factor of the gradient.
    """

    point: float
    full: float
    gain: float


#: The mid-point method (2310.00811) and Heun's method of third order (2409.12136).
ESTIMATORS = {"midpoint": Estimator(1 / 2, 1 / 2, 2.0), "heun": Estimator(1 / 3, 1 / 4, 1.0)}


@ROUTERS.register("sparse_mixer")
class SparseMixer(Router):
    """Each item samples K experts; weights are scaled so that gradients reflect the choice.

    For each of K choices: scores ``h`` of experts chosen before, or with
    ``(max h - h_e) / max(|h_e|, max h) > 2 margin``, are masked; ``e`` is drawn from the softmax
    ``p`` of the others, in evaluation the best is taken. If ``e`` is the best one its weight is
    ``p_e``; else ``p_e`` with probability ``full`` and ``point p_e`` otherwise, with the gradient
    of ``gain p_e`` in each case. So the expected gradient approximates that of the expected loss,
    which includes the choice.

    Source: SparseMixer, Liu et al. 2023, 2310.00811 (``estimator=midpoint``, for ``k=1``, without
    its learned scale of the output); GRIN, Liu et al. 2024, 2409.12136 (``heun``); constants and
    masks are those of the authors' code.

    Args:
        estimator: ``heun`` or ``midpoint``.
        margin: half the relative distance to the best score above which no expert is sampled.

    >>> router = SparseMixer(2, 2, k=1).train()
    >>> _ = router.gate.weight.data.copy_(torch.eye(2))
    >>> router(Items(torch.tensor([[9.0, 1.0]]))).expert.tolist()
    [0]
    """

    traits = Traits(convex=False, exact_gradients=False)
    search_space = {"k": [1, 2], "estimator": list(ESTIMATORS), "margin": [0.01, 0.1]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        estimator: str = "heun",
        margin: float = 0.1,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if estimator not in ESTIMATORS:
            raise unknown("estimator", estimator, ESTIMATORS)
        if not 0 <= margin < 1:
            raise OptionError("margin", margin, "a number in [0, 1)")
        self.k = k
        self.estimator = ESTIMATORS[estimator]
        self.margin = margin
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        left, chosen = logits, []
        for _ in range(self.k):
            expert, weight = self._choose(left)
            chosen.append((expert, weight))
            left = left.scatter(1, expert, -torch.inf)
        expert, weight = (torch.cat(parts, 1) for parts in zip(*chosen, strict=True))
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)

    def _choose(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """One expert of each item, ``(N, 1)``, and its weight; scores of -inf are not chosen."""
        fixed = scores.detach()
        highest, best = fixed.max(1, keepdim=True)
        far = (highest - fixed) / fixed.abs().maximum(highest) > 2 * self.margin
        p = softmax(scores.masked_fill(far, -torch.inf))
        if not self.training:
            return best, p.gather(1, best)
        expert = (p.detach() / torch.empty_like(p).exponential_()).argmax(1, keepdim=True)
        point, full, gain = self.estimator
        whole = (expert == best) | (torch.rand_like(p[:, :1]) < full)
        weight = p.gather(1, expert)
        value = torch.where(whole, weight, weight * point).detach()
        surrogate = gain * weight
        return expert, value + (surrogate - surrogate.detach())
