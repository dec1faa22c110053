"""Sparsemax routing."""

from ._router import ROUTERS
from .blocks import entmax
from .routing import Items, Routing
from .soft_mixture import SoftMixture


@ROUTERS.register("sparsemax")
class Sparsemax(SoftMixture):
    """Each item selects the experts with a positive sparsemax weight.

    ``p = argmin_{p in simplex} |p - h / T|^2 = [h / T - tau]_+``; the support of ``p`` is the
    selected set, ``p`` the weights. Other experts get no gradient from the item.

    Source: Martins and Astudillo 2016, 1602.02068, equation 2 and algorithm 1, in place of the
    softmax of a gate; the paper has no balance loss.

    Args:
        temperature: ``T``, > 0; lower values select fewer experts.

    >>> import torch
    >>> router = Sparsemax(3, 3)
    >>> _ = torch.nn.init.eye_(router.gate.weight)
    >>> router(Items(torch.tensor([[1.0, 0.5, -1.0]]))).weight.tolist()
    [0.75, 0.25]
    """

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items) / self.temperature
        probs = entmax(logits, 2.0)
        return Routing.by_mask(items, probs, keep=probs > 0, logits=logits, probs=probs)
