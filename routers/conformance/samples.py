"""Routings with logits and no layer, for the checks of losses and metrics."""

import torch
from torch import Tensor

from ..routing import Items, Routing

#: Items, groups and experts of a sample.
ITEMS, GROUPS, EXPERTS = 12, 3, 5


def random_logits(seed: int = 0) -> Tensor:
    """Logits ``(N, E)`` in float64 that ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(ITEMS, EXPERTS, generator=generator, dtype=torch.float64)
    return logits.requires_grad_()


def even_logits() -> Tensor:
    """Logits ``(10, E)`` that choose all experts equally often, and all but equally sure."""
    item = torch.arange(2 * EXPERTS)
    logits = torch.zeros(len(item), EXPERTS, dtype=torch.float64)
    logits[item, item % EXPERTS] = 2e-9
    logits[item, (item + 1) % EXPERTS] = 1e-9
    return logits.requires_grad_()


def routing_of(logits: Tensor, mask: Tensor | None = None, groups: int = 1) -> Routing:
    """The two best experts of every item, weighted by probability, with all fields and extras.

    Args:
        logits: ``(N, E)``.
        mask: ``(N,)`` bool, False for padding.
        groups: of equal length.
    """
    items = Items(torch.zeros_like(logits), groups, mask=mask)
    probs = logits.softmax(-1)
    expert = logits.detach().topk(2).indices
    real = probs if mask is None else probs[mask]
    extras = {
        "sparsity_coefficient": torch.tensor(0.5, dtype=logits.dtype),
        "divergence": logits.square().sum(-1),
        "surplus": logits.sum(-1),
        "imitator": logits,
        "imitated": logits.detach().argmax(-1),
        "selectors": torch.stack([probs, (logits / 2).softmax(-1)], 1) * 0.9,
    }
    return Routing.by_item(
        items,
        expert,
        probs.gather(1, expert),
        logits.shape[1],
        logits=logits,
        expected_load=2 * real.sum(0),
        extras=extras,
    )


def padding() -> Tensor:
    """``(N,)`` bool, False for two items of the first group and one of the last."""
    mask = torch.ones(ITEMS, dtype=torch.bool)
    mask[[1, 2, ITEMS - 1]] = False
    return mask
