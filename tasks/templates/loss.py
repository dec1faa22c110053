"""An auxiliary loss: a number that training lowers, computed from a routing."""

from torch import Tensor

from routers import LOSSES, Routing
from routers.losses import Level, expert_statistics


@LOSSES.register("my_loss")
def my_loss(routing: Routing, level: Level = "batch") -> Tensor:
    """The largest mean probability of an expert, times ``E``; 1 at balance.

    Replace this by what your loss does: lists show the first line of a docstring.

    Args:
        routing: of one layer. Gradients come from ``probs``, ``logits``, ``importance`` and
            ``expected_load``; counts such as ``requested_load`` have none.
        level: what experts are compared over: the batch, each group, or a whole optimizer step.
            Leave it out if your loss is a mean over items.

    >>> import torch
    >>> from routers import Items
    >>> expert, probs = torch.tensor([[0], [1]]), torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    >>> items = Items(torch.zeros(2, 4))
    >>> routing = Routing.by_item(items, expert, torch.ones(2, 1), 2, probs=probs)
    >>> round(my_loss(routing).item(), 4)
    1.2
    """
    # Means over the items that are not padding, (G, E): one row, or one for each group.
    probs = expert_statistics(routing, level).probs
    return routing.num_experts * probs.amax(-1).sum() / max(len(probs), 1)
