"""Two matrices per expert with an activation between them, as autograd functions."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from routers import Routing
from routers.blocks import uncompiled

from .activations import Activation
from .autocast import explicit_backward, in_autocast_dtype
from .layouts import DispatchIndex, Layout, multiply_each, plan_for


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
    if _autocasts(x.device.type):
        x, up, down = in_autocast_dtype(x, up, down)
    if routing.is_dense and routing.weight.dim() == 1 and not dropout:
        by_item = routing.weight.view(len(up), len(x)).t().to(x.dtype)
        y: Tensor = _DenseMixture.apply(x, by_item, up, down, activation)  # type: ignore[no-untyped-call]
        return y
    layout, index = plan_for(routing, up[0].numel() + down[0].numel(), x)
    weight = routing.weight
    if weight.dim() == 1:
        settings = _Settings(layout, index, activation, dropout)
        return _run(x, weight.to(x.dtype), up, down, settings)
    out = _run(index.gather(x), None, up, down, _Settings(layout, None, activation, dropout))
    return index.combine(out, weight)


def _autocasts(device: str) -> bool:
    """Whether autocast is enabled on a type of device; never on ``meta``, which has none."""
    return device != "meta" and torch.is_autocast_enabled(device)


def feed_forward(
    rows: Tensor, layout: Layout, up: Tensor, down: Tensor, activation: Activation, dropout: float
) -> Tensor:
    """``FFN_e(rows)``, rows ``(S, D)`` as ``layout`` has them; ``(S, D)``."""
    if _autocasts(rows.device.type):
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
        keep = None
        if dropout:  # 0 or 1 / (1 - dropout) for each output
            keep = torch.empty_like(active).bernoulli_(1 - dropout).div_(1 - dropout)
            active.mul_(keep)
        out = layout.grouped_matmul(active, down)
        to_weigh = None if weight is None else out
        ctx.save_for_backward(rows, inner, active, keep, to_weigh, weight, up, down)
        ctx.settings = settings
        return out if index is None else index.sums(out, weight)

    @staticmethod
    @explicit_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, active, keep, to_weigh, weight, up, down = ctx.saved_tensors
        layout, index, activation, _ = ctx.settings
        for_x, for_weight, for_up, for_down, _ = ctx.needs_input_grad
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


class _DenseMixture(torch.autograd.Function):
    """A mixture of all experts as one wide network, with weights ``(N, E)``.

    The experts' hidden layers are concatenated, ``(N, E * H)``, and scaled by the weights; one
    product with all ``down`` matrices then includes the sum over experts.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, up: Tensor, down: Tensor, activation: Activation
    ) -> Tensor:
        x, weight, up, down = (t.contiguous() for t in (x, weight, up, down))
        inner = x.new_empty(len(x), len(up), up.shape[2])
        multiply_each([x] * len(up), up.unbind(), inner.unbind(1))
        active = activation.apply(inner)
        ctx.save_for_backward(x, weight, inner, active, up, down)
        ctx.activation = activation
        return (active * weight.unsqueeze(2)).flatten(1) @ down.flatten(0, 1)

    @staticmethod
    @explicit_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inner, active, up, down = ctx.saved_tensors
        scaled = (active * weight.unsqueeze(2)).flatten(1)
        for_down = (scaled.t() @ grad).view_as(down)
        for_active = (grad @ down.flatten(0, 1).t()).view_as(active)
        for_weight = torch.linalg.vecdot(for_active, active)
        for_inner = ctx.activation.backward(for_active.mul_(weight.unsqueeze(2)), inner)
        for_up = torch.empty_like(up)
        for_x = torch.zeros_like(x)
        parts = zip(for_inner.unbind(1), up.unbind(), for_up.unbind(), strict=True)
        for part, matrix, into in parts:  # both products while the part is in the cache
            torch.mm(x.t(), part, out=into)
            for_x.addmm_(part, matrix.t())
        return for_x, for_weight, for_up, for_down, None
