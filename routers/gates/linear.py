"""Linear gate."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .._torch import call_hooks
from ..plugins import OptionError
from ..routing import Items, stable_order
from ._base import GATES, Gate


@GATES.register("linear")
class Linear(Gate):
    """``h = x W``, or ``x W + b`` (without a bias: Shazeer et al. 2017, equation 2, 1701.06538).

    Args:
        scale: standard deviation of the initial logits for items of unit variance; 0 starts
            with perfect balance, as in the paper.
        bias: add a learned bias ``b``, which starts at 0, as the router of GPT-OSS has.

    >>> gate = Linear(4, 2, scale=0.0)
    >>> gate(Items(torch.ones(1, 4))).tolist()
    [[0.0, 0.0]]
    """

    bias: nn.Parameter | None

    def __init__(self, dim: int, outputs: int, *, scale: float = 0.5, bias: bool = False) -> None:
        super().__init__()
        if not 0 <= scale < math.inf:
            raise OptionError("scale", scale, "a finite number >= 0")
        self.weight = nn.Parameter(torch.randn(outputs, dim) * scale * dim**-0.5)
        self.register_parameter("bias", nn.Parameter(torch.zeros(outputs)) if bias else None)

    def forward(self, items: Items) -> Tensor:
        dtype = items.x.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return F.linear(items.x, self.weight.to(dtype), bias)

    def rows(self) -> Tensor:
        return self.weight

    def pick(self, items: Items, logits: Tensor, chosen: Tensor) -> Tensor:
        if self.bias is not None or torch.compiler.is_compiling() or any(call_hooks(self)):
            return logits.gather(1, chosen)
        return linear_at(items.x, self.weight.to(items.x.dtype), logits, chosen)


#: Measured on CPU: from this number of scores on, two sparse sums are faster than the two
#: matrix products.
_MIN_SPARSE = 256


def linear_at(x: Tensor, weight: Tensor, logits: Tensor, chosen: Tensor) -> Tensor:
    """``logits.gather(1, chosen)``, ``(N, K)``, for ``logits = F.linear(x, weight)``, ``(N, E)``.

    For many scores, the backward pass reads the ``K`` chosen ones of each item only; the mostly
    zero ``(N, E)`` gradient of all scores is never built.
    """
    if weight.shape[0] < _MIN_SPARSE or x.device.type != "cpu":
        return logits.gather(1, chosen)
    picked: Tensor = _LinearAt.apply(x, weight, logits.detach(), chosen)  # type: ignore[no-untyped-call]
    return picked


class _LinearAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, logits: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, chosen)
        return logits.gather(1, chosen)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, chosen = ctx.saved_tensors
        n, k = chosen.shape
        expert, grad = chosen.flatten(), grad.flatten()
        of_item = torch.arange(0, n * k, k, device=expert.device)
        for_x = F.embedding_bag(expert, weight, of_item, mode="sum", per_sample_weights=grad)
        order = stable_order(expert, len(weight))
        count = torch.bincount(expert, minlength=len(weight))
        for_weight = F.embedding_bag(
            order.div(k, rounding_mode="floor"),
            x,
            count.cumsum(0) - count,
            mode="sum",
            per_sample_weights=grad.index_select(0, order),
        )
        return for_x, for_weight, None, None
