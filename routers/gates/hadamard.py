"""Hadamard gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("hadamard")
class Hadamard(Gate):
    """``h = (m(x) * x) W`` with ``m(x) = gelu(x U) V``: features scaled by an MLP of the item.

    A feature counts for all experts as much as the item's other features say.

    Source: the MLP-Hadamard router of Harvey et al. 2025, 2506.16419; its activation was not
    checked.

    Args:
        hidden: width of the hidden layer of ``m``.

    >>> gate = Hadamard(3, 3, hidden=2)
    >>> gate(Items(torch.zeros(1, 3))).tolist()
    [[0.0, 0.0, 0.0]]
    """

    def __init__(self, dim: int, outputs: int, *, hidden: int = 32) -> None:
        super().__init__()
        if hidden < 1:
            raise OptionError("hidden", hidden, "an integer >= 1")
        self.inner = nn.Parameter(torch.randn(hidden, dim) * dim**-0.5)
        self.outer = nn.Parameter(torch.randn(dim, hidden) * hidden**-0.5)
        self.weight = nn.Parameter(torch.randn(outputs, dim) * dim**-0.5)

    def forward(self, items: Items) -> Tensor:
        x = items.x
        scale = F.linear(F.gelu(F.linear(x, self.inner.to(x.dtype))), self.outer.to(x.dtype))
        return F.linear(scale * x, self.weight.to(x.dtype))
