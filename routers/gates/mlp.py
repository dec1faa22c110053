"""MLP gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("mlp")
class MLP(Gate):
    """``h = gelu(x V) W``: a gate with nonlinear boundaries between experts.

    Args:
        hidden: width of the hidden layer.

    >>> MLP(4, 2, hidden=3)(Items(torch.ones(5, 4))).shape
    torch.Size([5, 2])
    """

    def __init__(self, dim: int, outputs: int, *, hidden: int = 32) -> None:
        super().__init__()
        if hidden < 1:
            raise OptionError("hidden", hidden, "an integer >= 1")
        self.inner = nn.Parameter(torch.randn(hidden, dim) * dim**-0.5)
        self.outer = nn.Parameter(torch.randn(outputs, hidden) * hidden**-0.5)

    def forward(self, items: Items) -> Tensor:
        hidden = F.gelu(F.linear(items.x, self.inner.to(items.x.dtype)))
        return F.linear(hidden, self.outer.to(items.x.dtype))
