"""Subspace gate."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("subspace")
class Subspace(Gate):
    """Concentrations times the squared length of an item's projection on an expert's subspace.

    ``h_e = D / R sum_r k_er (u_er . x / |x|)^2`` with ``R`` unit vectors ``u`` and concentrations
    ``k > 0`` for each expert: the exponent of a Bingham distribution around a subspace. Items
    ``x`` and ``-x`` have equal scores. All concentrations times a factor make the softmax
    sharper or flatter, without training.

    Source: Grassmannian MoE, Shihab et al. 2026, 2602.17798, whose abstract was read: scores as
    concentrations of a matrix Bingham distribution. Its normalizing constants and its variational
    inference are left out, and ``u`` is orthonormal at the start only.

    Args:
        rank: ``R``, dimension of the subspaces.
        concentration: initial ``k``, > 0.

    >>> gate = Subspace(4, 2, rank=2)
    >>> x = torch.randn(1, 4)
    >>> bool(torch.allclose(gate(Items(x)), gate(Items(-3 * x))))
    True
    """

    def __init__(
        self, dim: int, outputs: int, *, rank: int = 4, concentration: float = 1.0
    ) -> None:
        super().__init__()
        if rank < 1:
            raise OptionError("rank", rank, "an integer >= 1")
        if not 0 < concentration < math.inf:
            raise OptionError("concentration", concentration, "a finite number > 0")
        bases = [nn.init.orthogonal_(torch.empty(rank, dim)) for _ in range(outputs)]
        self.basis = nn.Parameter(torch.stack(bases))
        self.log_concentration = nn.Parameter(torch.full((outputs, rank), math.log(concentration)))

    def forward(self, items: Items) -> Tensor:
        x = items.x
        unit = F.normalize(self.basis.to(x.dtype), dim=-1)
        inner = F.linear(F.normalize(x, dim=-1), unit.flatten(0, 1))
        inner = inner.view(x.shape[0], *unit.shape[:2])
        weight = self.log_concentration.to(x.dtype).exp() * (x.shape[1] / unit.shape[1])
        return (weight * inner.square()).sum(-1)
