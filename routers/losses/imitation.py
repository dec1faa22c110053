"""A cheap part of a router learns what another part decides."""

from torch import Tensor
from torch.nn import functional as F

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES, mean_or_zero


@LOSSES.register("imitation")
def imitation(routing: Routing) -> Tensor:
    """Cross-entropy of predicted decisions against those of the router, a mean over items.

    ``mean_i -log softmax(s_i)[a_i]`` for the scores ``s`` of the imitator and the decision ``a``.
    Source: the predictor of Mixture-of-Depths, 2404.02258, section 3.5, of two classes with the
    scores 0 and ``s``; the distilled router of StableMoE, 2204.08396, of a class per expert. Of
    several gates the sum.

    >>> import torch
    >>> from routers import Items
    >>> extras = {"imitator": torch.zeros(1, 2), "imitated": torch.tensor([1])}
    >>> items, chosen = Items(torch.zeros(1, 1)), torch.tensor([[1]])
    >>> routing = Routing.by_item(items, chosen, torch.ones(1, 1), 2, extras=extras)
    >>> round(imitation(routing).item(), 4)  # log 2
    0.6931
    """
    gates = [gate for gate in routing.gates or (routing,) if "imitator" in gate.extras]
    if not gates:
        raise ConfigError(
            "losses.imitation: this router has no part that imitates another; remove the loss, or "
            "use router=stable, or router=depth with router.predictor=linear"
        )
    each = [_of_items(gate) for gate in gates]
    return sum(each[1:], each[0])


def _of_items(gate: Routing) -> Tensor:
    scores, decided = (gate.unpadded(gate.extras[name]) for name in ("imitator", "imitated"))
    return mean_or_zero(F.cross_entropy(scores, decided, reduction="none"))
