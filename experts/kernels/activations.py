"""Activations of feed-forward experts, with their gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Activation:
    """A function of rows, ``(S, U)`` to ``(S, H)``, and its gradient.

    ``backward`` maps the gradient of the output, which it may overwrite, and the input to the
    gradient of the input.
    """

    apply: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _gelu_backward(grad: Tensor, rows: Tensor) -> Tensor:
    return torch.ops.aten.gelu_backward.grad_input(grad, rows, grad_input=grad)


def _relu_backward(grad: Tensor, rows: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(grad, rows, 0, grad_input=grad)


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


#: The exact (erf) form, which costs a quarter of the tanh approximation.
GELU = Activation(F.gelu, _gelu_backward)
RELU = Activation(F.relu, _relu_backward)
#: SiLU of the first half of a row times the second half.
SWIGLU = Activation(_swiglu, _swiglu_backward)
