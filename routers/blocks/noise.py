"""Noise on a gate's input or scores, and the smooth load that noisy scores allow."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..gates import Gate
from ..routing import Items


def jittered(items: Items, amount: float) -> Items:
    """Items whose ``x`` is multiplied by uniform noise in ``[1 - amount, 1 + amount]``."""
    if not amount:
        return items
    factor = torch.empty_like(items.x).uniform_(1 - amount, 1 + amount)
    return replace(items, x=items.x * factor)


#: Minimum standard deviation of the noise, which avoids a division by zero.
_MIN_STD = 1e-2


class NoisyLogits(NamedTuple):
    """Logits before and after noise, and the standard deviation of the noise, ``(..., E)`` each."""

    clean: Tensor
    noisy: Tensor
    std: Tensor


class NoisyScores(nn.Module):
    """``H = h + N(0, 1) * softplus(x Wn)`` (Shazeer et al. 2017, equations 3 to 5).

    Noise is drawn in training only. Its scale is initially the same for every expert.

    Args:
        gate: computes the clean scores ``h``, ``(N, outputs)``.
        dim: ``D``.
    """

    def __init__(self, gate: Gate, dim: int, outputs: int) -> None:
        super().__init__()
        self.gate = gate
        self.spread = nn.Parameter(torch.zeros(outputs, dim))

    def forward(self, items: Items) -> NoisyLogits:
        clean = self.gate(items)
        std = F.softplus(F.linear(items.x, self.spread.to(items.x.dtype))) + _MIN_STD
        noisy = clean + torch.randn_like(clean) * std if self.training else clean
        return NoisyLogits(clean, noisy, std)


def top_k_probability(scores: NoisyLogits, k: int) -> Tensor:
    """Probability that each score is among the ``k`` largest when its own noise is resampled.

    ``Phi((h_e - threshold) / std_e)``, the threshold being the ``k``-th largest of the *other*
    noisy scores (Shazeer et al. 2017, equations 8 and 9): the ``k+1``-th largest of all for a
    score among the top ``k``, the ``k``-th largest for any other.

    >>> two = torch.tensor([[1.0, 1.0]])
    >>> top_k_probability(NoisyLogits(two, two, torch.ones(1, 2)), k=1).tolist()
    [[0.5, 0.5]]
    """
    clean, noisy, std = scores
    if k == clean.shape[-1]:
        return torch.ones_like(clean)
    largest = noisy.topk(k + 1, -1).values
    last_in, first_out = largest[..., k - 1, None], largest[..., k, None]
    threshold = torch.where(noisy > first_out, first_out, last_in)
    return torch.special.ndtr((clean - threshold) / std)
