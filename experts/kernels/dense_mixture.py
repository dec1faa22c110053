"""Dense mixtures: every item through every expert, without a row per assignment."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .activations import Activation
from .autocast import without_autocast


def dense_mixture(
    x: Tensor, weight: Tensor, up: Tensor, down: Tensor, activation: Activation
) -> Tensor:
    """``y_i = sum_e w_ie FFN_e(x_i)`` over all experts, computed as one wide network.

    The experts' hidden layers are concatenated, ``(N, E * H)``, and scaled by the weights; one
    product with all ``down`` matrices then includes the sum over experts.

    Args:
        x: ``(N, D)``.
        weight: ``(E * N,)``, expert by expert.
        up: ``(E, D, U)``.
        down: ``(E, H, D)``.
        activation: from ``U`` to ``H``.

    Returns:
        ``(N, D)``.
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
