"""Entmax routing, between softmax and sparsemax."""

from ._router import ROUTERS, Router
from .blocks import entmax
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("entmax")
class Entmax(Router):
    """Each item selects the experts with a positive entmax weight.

    ``p = [(alpha - 1) h - tau]_+ ^ (1 / (alpha - 1))``; the support of ``p`` is the selected set,
    ``p`` the weights. ``alpha=2`` is ``sparsemax``; ``alpha`` near 1 selects every expert, as
    ``soft_mixture`` does.

    Source: Peters et al. 2019, 1905.05702, equations 9 and 10, in place of the softmax of a gate;
    the paper has no balance loss.

    Args:
        alpha: in [1.05, 2]; 1.5 and 2 are solved by sorting, others by bisection.

    >>> import torch
    >>> router = Entmax(3, 3)
    >>> _ = torch.nn.init.eye_(router.gate.weight)
    >>> [round(w, 4) for w in router(Items(torch.tensor([[1.0, 0.0, -1.0]]))).weight.tolist()]
    [0.8307, 0.1693]
    """

    search_space = {"alpha": {"low": 1.1, "high": 2.0}}

    def __init__(
        self, dim: int, num_experts: int, *, alpha: float = 1.5, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        if not 1.05 <= alpha <= 2:
            raise OptionError("alpha", alpha, "a number in [1.05, 2]")
        self.alpha = alpha
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        probs = entmax(logits, self.alpha)
        return Routing.by_mask(items, probs, keep=probs > 0, logits=logits, probs=probs)
