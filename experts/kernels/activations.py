"""What happens between the two matrices of a feed-forward expert, and its gradient."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Activation:
    """A function and its gradient, for rows of any number.

    Attributes:
        apply: ``(S, U)`` to ``(S, H)``.
        backward: gradient of the result ``(S, H)``, which it may overwrite, and what went in
            ``(S, U)``, to the gradient of what went in.
    """

    apply: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _gelu_backward(grad: Tensor, rows: Tensor) -> Tensor:
    return torch.ops.aten.gelu_backward.grad_input(grad, rows, grad_input=grad)


def _swiglu(rows: Tensor) -> Tensor:
    gate, up = rows.chunk(2, -1)
    return F.silu(gate).mul_(up)


def _swiglu_backward(grad: Tensor, rows: Tensor) -> Tensor:
    gate, up = rows.chunk(2, -1)
    into = torch.empty_like(rows)
    for_gate, for_up = into.chunk(2, -1)
    torch.mul(grad, F.silu(gate), out=for_up)
    torch.ops.aten.silu_backward.grad_input(grad.mul_(up), gate, grad_input=for_gate)
    return into


#: The exact (erf) form, which costs a quarter of the one by tanh.
GELU = Activation(F.gelu, _gelu_backward)
#: Halves of a row: the first, through SiLU, scales the second.
SWIGLU = Activation(_swiglu, _swiglu_backward)
