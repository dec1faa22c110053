"""Execution by merged experts: their parameters are averaged, one expert per part of the items."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from routers import ConfigError, Routing
from routers.routing import Merge

from .._bank import Bank
from .mix import execute, execution_flops

M = TypeVar("M", bound=nn.Module)


def check_merges(bank: Bank) -> None:
    """Raise ``ConfigError`` unless the bank's experts differ only in stacked parameters."""
    if not bank.expert_parameters:
        raise ConfigError(
            f"expert: {type(bank).__name__} has experts of several forms, whose parameters have no "
            "mean, and router=merged averages parameters; choose experts of one form such as mlp"
        )


@execute.register
def _mix_merged(
    merge: Merge, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    """``y_i = FFN(x_i; sum_e w_ge theta_e)`` for the items ``i`` of each part ``g``.

    The bank works as if it had one expert per part, whose parameters are the means.
    """
    check_merges(bank)
    if merge.weight.dim() == 2:
        return _mixed(x, merge.weight, routing.mask, bank, mask)
    per_task = [_mixed(x, weight, routing.mask, bank, mask) for weight in merge.weight]
    return torch.stack(per_task)


@execution_flops.register
def _merge_flops(merge: Merge, routing: Routing, bank: Bank, row_shape: Sequence[int]) -> int:
    return 2 * merge.weight.numel() * bank.parameters_per_expert()[0]


def _mixed(
    x: Tensor, weight: Tensor, real: Tensor | None, bank: Bank, mask: Tensor | None
) -> Tensor:
    if not len(x):
        return x.clone()
    merged = {}
    for name in bank.expert_parameters:
        stack = bank.get_parameter(name)
        means = weight.to(stack.dtype) @ stack.flatten(1)
        merged[stack] = means.view(-1, *stack.shape[1:])
    merged_bank = with_parameters(bank, merged)
    if real is None:
        load = torch.full(weight.shape[:1], len(x) // len(weight), device=x.device)
        out: Tensor = merged_bank(x, load, mask)
        return out.to(x.dtype)
    row = real.nonzero().squeeze(1)
    load = real.view(len(weight), -1).sum(1)
    row_mask = None if mask is None else mask.index_select(0, row)
    out = merged_bank(x.index_select(0, row), load, row_mask)
    return torch.zeros_like(x).index_copy(0, row, out.to(x.dtype))


def with_parameters(module: M, values: Mapping[nn.Parameter, Tensor]) -> M:
    """A shallow copy of a module with other tensors in place of some parameters.

    The module itself stays as it is, so that other threads can use it. ``functional_call`` would
    exchange its parameters for the time of the call.

    Raises:
        ConfigError: if ``forward`` was replaced on the instance, which the copy cannot follow.
    """
    if "forward" in vars(module):
        name = type(module).__name__
        raise ConfigError(
            f"expert: {name}.forward is replaced on an instance, whose parameters router=merged "
            "cannot average; use a subclass or a forward hook"
        )
    twin = object.__new__(type(module))  # copy.copy would call the constructor under FSDP2
    parameters, modules = module._parameters.items(), module._modules.items()
    twin.__dict__.update(
        module.__dict__,
        _parameters={n: p if p is None else values.get(p, p) for n, p in parameters},
        _modules={n: m if m is None else with_parameters(m, values) for n, m in modules},
    )
    return twin
