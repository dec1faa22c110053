"""One linear map."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins.errors import bad_value
from ..routing.items import Items
from ._base import Gate, gates
from ._sparse_linear import linear_at


@gates.register("linear")
class Linear(Gate):
    """``h = x W``, without a bias (Shazeer et al. 2017, equation 2, 1701.06538).

    Args:
        dim: ``D``.
        outputs: how many scores.
        scale: standard deviation of the initial logits for items of unit variance; 0 starts
            from perfect balance, as the paper does.

    >>> gate = Linear(4, 2, scale=0.0)
    >>> gate(Items(torch.ones(1, 4))).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, dim: int, outputs: int, *, scale: float = 0.5) -> None:
        super().__init__()
        if not 0 <= scale < math.inf:
            raise bad_value("router.gate.scale", scale, "a finite number of at least 0")
        self.weight = nn.Parameter(torch.randn(outputs, dim) * scale * dim**-0.5)

    def forward(self, items: Items) -> Tensor:
        return F.linear(items.x, self.weight.to(items.x.dtype))

    def pick(self, items: Items, logits: Tensor, chosen: Tensor) -> Tensor:
        return linear_at(items.x, self.weight.to(items.x.dtype), logits, chosen)
