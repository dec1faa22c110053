"""Experts whose parameters are averaged: one expert for each part of the items."""

import torch
from torch import Tensor
from torch.func import functional_call

from routers import ConfigError, Routing

from .._bank import Bank


def check_merges(bank: Bank) -> None:
    """Raise ``ConfigError`` unless the bank's experts differ in stacked parameters alone."""
    if not bank.expert_parameters:
        raise ConfigError(
            f"expert: {type(bank).__name__} has experts of several forms, whose parameters have no "
            "mean, and router=merged averages parameters; choose experts of one form such as mlp"
        )


def mix_merged(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """``y_i = FFN(x_i; sum_e w_ge theta_e)`` for the items ``i`` of each part ``g``.

    The bank works as if it had an expert for each part, whose parameters are the means.

    Args:
        x: ``(N, ...)``.
        routing: with ``merge`` ``(M, E)``, or ``(T, M, E)`` for ``T`` tasks.
        bank: the experts.
        mask: ``(N, L)`` bool, False at padding inside sequences; None where all is real.

    Returns:
        ``(N, ...)``, or ``(T, N, ...)``.
    """
    check_merges(bank)
    assert routing.merge is not None
    if routing.merge.dim() == 2:
        return _mixed(x, routing.merge, routing.mask, bank, mask)
    per_task = [_mixed(x, weight, routing.mask, bank, mask) for weight in routing.merge]
    return torch.stack(per_task)


def _mixed(
    x: Tensor, weight: Tensor, real: Tensor | None, bank: Bank, mask: Tensor | None
) -> Tensor:
    if not len(x):
        return x.clone()
    merged = {name: _means(weight, bank.get_parameter(name)) for name in bank.expert_parameters}
    if real is None:
        load = torch.full(weight.shape[:1], len(x) // len(weight), device=x.device)
        out: Tensor = functional_call(bank, merged, (x, load, mask))
        return out.to(x.dtype)
    row = real.nonzero().squeeze(1)
    load = real.view(len(weight), -1).sum(1)
    row_mask = None if mask is None else mask.index_select(0, row)
    out = functional_call(bank, merged, (x.index_select(0, row), load, row_mask))
    return torch.zeros_like(x).index_copy(0, row, out.to(x.dtype))


def _means(weight: Tensor, stack: Tensor) -> Tensor:
    """``(M, E)`` of ``(E, ...)``: ``(M, ...)``."""
    return (weight.to(stack.dtype) @ stack.flatten(1)).view(-1, *stack.shape[1:])
