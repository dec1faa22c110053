"""Uncertainty of an item's task given its expert."""

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES, entropies


@LOSSES.register("mutual_information")
def mutual_information(routing: Routing) -> Tensor:
    """``H(T | E) = H(T) - I(T; E)`` in nats: 0 if each expert works for one task.

    ``H(T)`` does not depend on the gate, so minimizing this maximizes the mutual information of
    task and expert. ``P(t, e)`` is the mean over real items of the batch of the gate's distribution
    for items of task ``t``. On several devices it is that of each share, averaged.

    Source: Mod-Squad, Chen et al. 2022, 2212.08066. Its code takes ``P(t, e)`` of several batches.

    >>> from routers import Items
    >>> items = Items(torch.zeros(2, 1), task=torch.tensor([0, 1]))
    >>> apart = Routing.by_mask(items, torch.eye(2))
    >>> alike = Routing.by_mask(items, torch.full((2, 2), 0.5))
    >>> round(mutual_information(apart).item(), 4), round(mutual_information(alike).item(), 4)
    (0.0, 0.6931)
    """
    if routing.task is None:
        raise ConfigError(
            "losses.mutual_information: items have no task; remove losses.mutual_information, or "
            "choose a task whose samples have one, such as text_classification with data.group"
        )
    task, index = torch.unique(routing.unpadded(routing.task), return_inverse=True)
    probs = routing.unpadded(routing.to_dense(routing.probs))
    joint = probs.new_zeros(len(task), probs.shape[1]).index_add(0, index, probs)
    joint = joint / joint.sum().clamp_min(torch.finfo(joint.dtype).tiny)
    return entropies(joint.flatten()) - entropies(joint.sum(0))
