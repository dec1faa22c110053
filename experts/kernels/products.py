"""Products by expert as autograd functions: one matrix, feed-forward networks, dense mixtures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from routers import Routing
from routers.blocks import uncompiled

from .layouts import DispatchIndex, Layout, plan_for, sorted_layout


@dataclass(frozen=True)
class Activation:
    """A function of rows ``(S, U)`` to ``(S, H)``, and its gradient.

    ``backward`` takes the gradient of the output, which it may overwrite, and the input.
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


#: The exact (erf) form, which costs a quarter of the tanh approximation.
GELU = Activation(F.gelu, _gelu_backward)
#: SiLU of the first half of a row times the second half.
SWIGLU = Activation(_swiglu, _swiglu_backward)


Backward = Callable[[Any, Tensor], tuple[Tensor | None, ...]]


def in_autocast_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast tensors as ``F.linear`` does: to autocast's dtype if it is enabled.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     in_autocast_dtype(torch.ones(1))[0].dtype
    torch.bfloat16
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device) or tensors[0].dtype == torch.float64:
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) for tensor in tensors)


def without_autocast(backward: Backward) -> Backward:
    """Run a backward pass in the dtypes of its forward pass, wherever it is called."""

    @wraps(backward)
    def run(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return backward(ctx, grad)

    return run


@uncompiled
def grouped_linear(rows: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    """Multiply each row by the matrix of its expert: ``(A, I)`` to ``(A, O)``.

    One step of autograd, however many experts: indexing ``weight[e]`` in a loop instead costs
    a full gradient of the stack per expert. An expert without rows gets a gradient of zero.
    Under autocast it works in autocast's dtype, as ``F.linear`` does.

    Args:
        rows: ``(A, I)``, sorted by expert.
        weight: ``(E, I, O)``.
        load: ``(E,)`` int64, rows of each expert.

    >>> weight = torch.tensor([[[1.0]], [[10.0]]])
    >>> grouped_linear(torch.ones(3, 1), weight, torch.tensor([1, 2])).tolist()
    [[1.0], [10.0], [10.0]]
    """
    rows, weight = in_autocast_dtype(rows, weight)
    out: Tensor = _GroupedLinear.apply(rows, weight, load)  # type: ignore[no-untyped-call]
    return out


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, load: Tensor) -> Tensor:
        rows, weight = rows.contiguous(), weight.contiguous()
        ctx.save_for_backward(rows, weight)
        ctx.layout = sorted_layout(load)
        return ctx.layout.grouped_matmul(rows, weight)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weight = ctx.saved_tensors
        layout: Layout = ctx.layout
        grad = grad.contiguous()  # an expanded gradient has strides no kernel takes
        for_rows, for_weight, _ = ctx.needs_input_grad
        return (
            layout.grouped_matmul(grad, weight.transpose(1, 2)) if for_rows else None,
            layout.grouped_outer(rows, grad) if for_weight else None,
            None,
        )


def mix_feed_forward(
    x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``y_i = sum_e w_ie FFN_e(x_i)``, in the cheapest layout for the routing.

    ``x`` is ``(N, D)``, ``up`` ``(E, D, U)`` and ``down`` ``(E, H, D)``; the activation is from
    ``U`` to ``H``, and ``dropout`` zeroes its outputs with this probability. The result is
    ``(N, D)``, or ``(T, N, D)`` if the weights are for ``T`` tasks.
    """
    x, up, down = in_autocast_dtype(x, up, down)
    if routing.is_dense and routing.weight.dim() == 1 and not dropout:
        return dense_mixture(x, routing.weight, up, down, activation)
    layout, index = plan_for(routing, up[0].numel() + down[0].numel(), x)
    weight = routing.weight
    if weight.dim() == 1:
        return _run(x, weight.to(x.dtype), up, down, layout, index, activation, dropout)
    out = feed_forward(index.gather(x), layout, up, down, activation, dropout)
    return index.combine(out, weight)


def feed_forward(
    rows: Tensor, layout: Layout, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``FFN_e(rows)``, rows ``(S, D)`` as ``layout`` has them; ``(S, D)``."""
    rows, up, down = in_autocast_dtype(rows, up, down)
    return _run(rows, None, up, down, layout, None, activation, dropout)


@uncompiled
def _run(*given: Any) -> Tensor:
    y: Tensor = _FeedForward.apply(*given)  # type: ignore[no-untyped-call]
    return y


class _FeedForward(torch.autograd.Function):
    """Without ``index`` the input is rows, and so is the output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        up: Tensor,
        down: Tensor,
        layout: Layout,
        index: DispatchIndex | None,
        activation: Activation,
        dropout: float,
    ) -> Tensor:
        up, down = up.contiguous(), down.contiguous()
        rows = x.contiguous() if index is None else index.rows(x.contiguous())
        inner = layout.grouped_matmul(rows, up)
        active = activation.apply(inner)
        keep = None
        if dropout:
            keep = torch.empty_like(active).bernoulli_(1 - dropout).div_(1 - dropout)
            active.mul_(keep)
        out = layout.grouped_matmul(active, down)
        to_weigh = None if weight is None else out
        ctx.save_for_backward(rows, inner, active, keep, to_weigh, weight, up, down)
        ctx.settings = layout, index, activation
        return out if index is None else index.sums(out, weight)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, active, keep, to_weigh, weight, up, down = ctx.saved_tensors
        layout, index, activation = ctx.settings
        for_x, for_weight, for_up, for_down = ctx.needs_input_grad[:4]
        grad = grad.contiguous()  # an expanded gradient has strides no kernel takes
        weight_grad = index.dots(grad, to_weigh) if for_weight else None
        grad = grad if index is None else index.scaled(grad, weight)
        down_grad = layout.grouped_outer(active, grad) if for_down else None
        grad = layout.grouped_matmul(grad, down.transpose(1, 2))
        if keep is not None:
            grad.mul_(keep)
        grad = activation.backward(grad, inner)
        up_grad = layout.grouped_outer(rows, grad) if for_up else None
        x_grad = None
        if for_x:
            x_grad = layout.grouped_matmul(grad, up.transpose(1, 2))
            x_grad = x_grad if index is None else index.sums(x_grad, None)
        return x_grad, weight_grad, up_grad, down_grad, None, None, None, None


def dense_mixture(
    x: Tensor, weight: Tensor, up: Tensor, down: Tensor, activation: Activation
) -> Tensor:
    """``mix_feed_forward`` with all experts for every item, computed as one wide network.

    The experts' hidden layers are concatenated, ``(N, E * H)``, and scaled by the weights
    ``(E * N,)``, expert by expert; one product with all ``down`` matrices then includes the sum
    over experts.
    """
    by_item = weight.view(len(up), len(x)).t().to(x.dtype)
    y: Tensor = _DenseMixture.apply(x, by_item, up, down, activation)  # type: ignore[no-untyped-call]
    return y


class _DenseMixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, up: Tensor, down: Tensor, activation: Activation
    ) -> Tensor:
        x, weight, up, down = (t.contiguous() for t in (x, weight, up, down))
        inner = x.new_empty(len(x), len(up), up.shape[2])
        for matrix, into in zip(up.unbind(), inner.unbind(1), strict=True):
            torch.mm(x, matrix, out=into)
        active = activation.apply(inner)
        ctx.save_for_backward(x, weight, inner, active, up, down)
        ctx.activation = activation
        return (active * weight.unsqueeze(2)).flatten(1) @ down.flatten(0, 1)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inner, active, up, down = ctx.saved_tensors
        grad = grad.contiguous()
        scaled = (active * weight.unsqueeze(2)).flatten(1)
        for_down = (scaled.t() @ grad).view_as(down)
        for_active = (grad @ down.flatten(0, 1).t()).view_as(active)
        for_weight = torch.linalg.vecdot(for_active, active)
        for_inner = ctx.activation.backward(for_active.mul_(weight.unsqueeze(2)), inner)
        for_up = torch.empty_like(up)
        for_x = torch.zeros_like(x)
        for part, matrix, into in zip(
            for_inner.unbind(1), up.unbind(), for_up.unbind(), strict=True
        ):
            torch.mm(x.t(), part, out=into)
            for_x.addmm_(part, matrix.t())
        return for_x, for_weight, for_up, for_down, None
