"""Experts in equal groups, of which an item may reach a few."""

import torch
from torch import Tensor

from ._errors import bad_value
from ._select import top_k


def check_groups(num_experts: int, k: int, groups: int, kept: int) -> None:
    """Raise ``ConfigError`` unless ``kept`` of ``groups`` equal groups hold ``k`` experts."""
    if groups < 1 or num_experts % groups:
        allowed = f"a number that divides num_experts={num_experts}"
        raise bad_value("router.expert_groups", groups, allowed)
    least = -(-k * groups // num_experts)
    if not least <= kept <= groups:
        allowed = f"from {least}, which hold router.k={k} experts, to router.expert_groups={groups}"
        raise bad_value("router.kept_groups", kept, allowed)


def in_best_groups(scores: Tensor, groups: int, kept: int) -> Tensor:
    """The scores of each item's best groups, by the sum of their two largest; ``-inf`` elsewhere.

    Args:
        scores: ``(N, E)``.
        groups: how many equal groups the experts form.
        kept: how many of them stay.

    >>> in_best_groups(torch.tensor([[0.9, 0.1, 0.6, 0.5]]), groups=2, kept=1).tolist()
    [[-inf, -inf, 0.6000, 0.5]]
    """
    grouped = scores.view(*scores.shape[:-1], groups, scores.shape[-1] // groups)
    best = top_k(grouped.topk(min(2, grouped.shape[-1]), -1).values.sum(-1), kept)
    closed = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter(-1, best, False)
    return grouped.masked_fill(closed.unsqueeze(-1), -torch.inf).flatten(-2)
