"""Two matrices per expert with an activation between them, as one autograd function."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from routers import Routing
from routers.blocks import uncompiled

from .activations import Activation
from .autocast import in_autocast_dtype, without_autocast
from .dense_mixture import dense_mixture
from .layouts import DispatchIndex, Layout, plan_for


def mix_feed_forward(
    x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``y_i = sum_e w_ie FFN_e(x_i)``, in the cheapest layout for the routing.

    Args:
        x: ``(N, D)``.
        routing: assignments of items, not of slots.
        up: ``(E, D, U)``.
        down: ``(E, H, D)``.
        activation: from ``U`` to ``H``.
        dropout: probability of zeroing an output of the activation.

    Returns:
        ``(N, D)``, or ``(T, N, D)`` if weights are for ``T`` tasks.
    """
    if torch.is_autocast_enabled(x.device.type):
        x, up, down = in_autocast_dtype(x, up, down)
    if routing.is_dense and routing.weight.dim() == 1 and not dropout:
        return dense_mixture(x, routing.weight, up, down, activation)
    layout, index = plan_for(routing, up[0].numel() + down[0].numel(), x)
    weight = routing.weight
    if weight.dim() == 1:
        settings = _Settings(layout, index, activation, dropout)
        return _run(x, weight.to(x.dtype), up, down, settings)
    out = feed_forward(index.gather(x), layout, up, down, activation, dropout)
    return index.combine(out, weight)


def feed_forward(
    rows: Tensor, layout: Layout, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``FFN_e(rows)``, rows ``(S, D)`` as ``layout`` has them; ``(S, D)``."""
    if torch.is_autocast_enabled(rows.device.type):
        rows, up, down = in_autocast_dtype(rows, up, down)
    return _run(rows, None, up, down, _Settings(layout, None, activation, dropout))


class _Settings(NamedTuple):
    """Inputs without a gradient; without ``dispatch`` the input is rows, and so is the output."""

    layout: Layout
    dispatch: DispatchIndex | None
    activation: Activation
    dropout: float


@uncompiled
def _run(x: Tensor, weight: Tensor | None, up: Tensor, down: Tensor, settings: _Settings) -> Tensor:
    y: Tensor = _FeedForward.apply(x, weight, up, down, settings)  # type: ignore[no-untyped-call]
    return y


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, up: Tensor, down: Tensor, settings: _Settings
    ) -> Tensor:
        layout, index, activation, dropout = settings
        up, down = up.contiguous(), down.contiguous()
        rows = x.contiguous() if index is None else index.rows(x.contiguous())
        inner = layout.grouped_matmul(rows, up)
        active = activation.apply(inner)
        keep = _keep(active, dropout) if dropout else None
        if keep is not None:
            active.mul_(keep)
        out = layout.grouped_matmul(active, down)
        to_weigh = None if weight is None else out
        ctx.save_for_backward(rows, inner, active, keep, to_weigh, weight, up, down)
        ctx.settings = settings
        return out if index is None else index.sums(out, weight)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, active, keep, to_weigh, weight, up, down = ctx.saved_tensors
        layout, index, activation, _ = ctx.settings
        for_x, for_weight, for_up, for_down, _ = ctx.needs_input_grad
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
        return x_grad, weight_grad, up_grad, down_grad, None


def _keep(like: Tensor, dropout: float) -> Tensor:
    """0 with probability ``dropout``, else ``1 / (1 - dropout)``."""
    return torch.empty_like(like).bernoulli_(1 - dropout).div_(1 - dropout)
