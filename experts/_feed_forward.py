"""Two matrices per expert with an activation between, as one step of autograd."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from routers import Routing

from ._activations import Activation
from ._complete import complete_mixture
from ._layouts import Layout
from ._plan import plan_for
from ._precision import in_autocast_dtype


def mix_feed_forward(
    x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``y_i = sum_e w_ie FFN_e(x_i)``, by the layout that suits the routing.

    Args:
        x: ``(N, D)``.
        routing: without a blend.
        up: ``(E, D, U)``.
        down: ``(E, H, D)``.
        activation: from ``U`` to ``H``.
        dropout: probability of zeroing what comes out of the activation.

    Returns:
        ``(N, D)``, or ``(T, N, D)`` where weights are for ``T`` tasks.
    """
    x, up, down = in_autocast_dtype(x, up, down)
    if routing.complete and routing.weight.dim() == 1 and not dropout:
        return complete_mixture(x, routing.weight, up, down, activation)
    layout, places = plan_for(routing, up[0].numel() + down[0].numel(), x)
    out = feed_forward(places.gather(x), layout, up, down, activation, dropout)
    return places.combine(out, routing.weight)


def feed_forward(
    rows: Tensor, layout: Layout, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``FFN_e(rows)``, rows ``(S, D)`` as ``layout`` has them; ``(S, D)``."""
    rows, up, down = in_autocast_dtype(rows, up, down)
    out: Tensor = _FeedForward.apply(rows, up, down, layout, activation, dropout)  # type: ignore[no-untyped-call]
    return out


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        up: Tensor,
        down: Tensor,
        layout: Layout,
        activation: Activation,
        dropout: float,
    ) -> Tensor:
        rows = rows.contiguous()
        inner = layout.rows_by_stack(rows, up)
        active = activation.apply(inner)
        keep = _keep(active, dropout) if dropout else None
        if keep is not None:
            active.mul_(keep)
        ctx.save_for_backward(rows, inner, active, keep, up, down)
        ctx.layout, ctx.activation = layout, activation
        return layout.rows_by_stack(active, down)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, active, keep, up, down = ctx.saved_tensors
        layout: Layout = ctx.layout
        grad = grad.contiguous()  # an expanded gradient has strides no kernel takes
        for_rows, for_up, for_down, *_ = ctx.needs_input_grad
        down_grad = layout.rows_by_rows(active, grad) if for_down else None
        for_active = layout.rows_by_stack(grad, down.transpose(1, 2))
        if keep is not None:
            for_active.mul_(keep)
        for_inner = ctx.activation.backward(for_active, inner)
        return (
            layout.rows_by_stack(for_inner, up.transpose(1, 2)) if for_rows else None,
            layout.rows_by_rows(rows, for_inner) if for_up else None,
            down_grad,
            None,
            None,
            None,
        )


def _keep(like: Tensor, dropout: float) -> Tensor:
    """0 with probability ``dropout``, else what keeps the mean."""
    return torch.empty_like(like).bernoulli_(1 - dropout).div_(1 - dropout)
