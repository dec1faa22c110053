"""Low-rank gate with bounded scores."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate

#: Keeps the norm of an item at 0 differentiable.
_TINY = 1e-6


@GATES.register("low_rank")
class LowRank(Gate):
    """Saturated inner products with several anchors for each expert, in a space of low rank.

    ``z = P x``; ``s_em = b tanh(z . a_em / (b sqrt(|z| |a_em|)))`` for the ``M`` anchors of an
    expert and ``h_e = log mean_m exp(s_em)``. A score stays in ``[-b, b]`` and its slope falls with
    the norm of the item, so that a small change of a large item changes no selection.

    Source: L2R, Yang et al. 2026, 2601.21349: low rank, saturation and anchors. Its abstract was
    read; ``tanh``, the square roots and the mean over anchors are from a secondary text and not
    checked against the paper.

    Args:
        width: rank of the space.
        anchors: ``M``.
        bound: ``b``, > 0.

    >>> gate = LowRank(4, 2, bound=2.0)
    >>> gate(Items(1e6 * torch.randn(9, 4))).abs().max().item() <= 2.0
    True
    """

    def __init__(
        self, dim: int, outputs: int, *, width: int = 16, anchors: int = 2, bound: float = 5.0
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("anchors", anchors)):
            if value < 1:
                raise OptionError(name, value, "an integer >= 1")
        if not 0 < bound < math.inf:
            raise OptionError("bound", bound, "a finite number > 0")
        self.bound = bound
        self.project = nn.Parameter(nn.init.orthogonal_(torch.empty(width, dim)))
        self.anchor = nn.Parameter(torch.randn(outputs, anchors, width))

    def forward(self, items: Items) -> Tensor:
        x, b = items.x, self.bound
        anchor = self.anchor.to(x.dtype)
        code = F.linear(x, self.project.to(x.dtype))
        inner = F.linear(code, anchor.flatten(0, 1)).view(x.shape[0], *anchor.shape[:2])
        scale = _root_norm(code)[:, None, None] * _root_norm(anchor)
        scores = b * (inner / (b * scale)).tanh()
        return scores.logsumexp(-1) - math.log(anchor.shape[1])


def _root_norm(vectors: Tensor) -> Tensor:
    """Square root of the norm along the last axis, at least a thousandth."""
    return (vectors.square().sum(-1) + _TINY**2).pow(0.25)
