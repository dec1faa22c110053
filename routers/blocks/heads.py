"""Several heads choose among the same experts."""

import torch
from torch import Tensor
from torch.nn import functional as F


def merged_heads(expert: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Each item's experts once, with the sum of the weights that its heads give them.

    Args:
        expert: ``(N, H, K)`` int64, different ones within a head.
        weight: ``(N, H, K)``.

    Returns:
        ``(N, H K)`` experts, their weights, and which of these places are filled; None for all.

    >>> expert, weight = torch.tensor([[[5, 2], [2, 7]]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> [part.tolist() for part in merged_heads(expert, weight)]
    [[[2, 5, 7, 0]], [[5.0, 1.0, 4.0, 0.0]], [[True, True, True, False]]]
    """
    expert, weight, heads = expert.flatten(1), weight.flatten(1), expert.shape[1]
    if heads == 1:
        return expert, weight, None
    expert, order = expert.sort(-1)
    weight = weight.gather(1, order)
    place = F.pad(expert.diff(dim=-1).sign(), (1, 0)).cumsum(-1)  # of each, among the different
    keep = torch.arange(expert.shape[1], device=expert.device) <= place[:, -1:]
    return (
        torch.zeros_like(expert).scatter(1, place, expert),
        torch.zeros_like(weight).scatter_add(1, place, weight),
        keep,
    )
