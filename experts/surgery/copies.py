"""Copies of the experts of a layer with the state of their optimizer: kept, and put back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError

from ..layers.moe import MoE

#: The values of the stacks of a bank by name, and of states of the optimizer with an entry for
#: each expert, ``(E, ...)`` on the CPU: ``{"up": {"value": …, "exp_avg": …}}``.
Copies = dict[str, dict[str, Tensor]]

#: State of an optimizer by parameter, as ``Optimizer.state`` holds it.
State = Mapping[Tensor, Mapping[str, Any]]


def lost_experts(layer: MoE) -> Tensor:
    """Mark experts with a parameter that is not finite, or parameters that are all 0, ``(E,)``.

    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4))
    >>> layer.bank.down.data[2, 0, 0] = torch.nan
    >>> lost_experts(layer).tolist()
    [False, False, True, False]
    """
    stacks = [stack.detach().flatten(1) for _, stack in _stacks(layer)]
    # a sum is fast, not finite if a number is not, and 0 if all are; then each number counts
    sums = torch.stack([stack.sum(1) for stack in stacks])
    lost = ~sums.isfinite().all(0) | (sums == 0).all(0)
    if lost.any():
        values = torch.cat([stack[lost] for stack in stacks], 1)
        lost[lost.clone()] = ~values.isfinite().all(1) | (values == 0).all(1)
    return lost


def copy_experts(layer: MoE, state: State = {}) -> Copies:
    """Copy the experts of a layer to the CPU.

    Copies from a GPU are complete once it has done what was queued before.

    Args:
        layer: with experts of one form, whose parameters are stacked; ``ConfigError`` otherwise.
        state: of the optimizer.
    """
    return {
        name: {key: _on_cpu(values) for key, values in _tensors(stack, state)}
        for name, stack in _stacks(layer)
    }


@torch.no_grad()
def restore_experts(layer: MoE, copies: Copies, experts: Sequence[int], state: State = {}) -> None:
    """Give some experts the values of their copies, in place; others stay as they are.

    State of the optimizer that is younger than the copies becomes 0.

    Raises:
        ConfigError: if the copies are of experts of other shapes.

    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4))
    >>> copies = copy_experts(layer)
    >>> layer.bank.down.data[2] = 0
    >>> restore_experts(layer, copies, [2])
    >>> layer.bank.down.equal(copies["down"]["value"])
    True
    """
    own = {name: tuple(stack.shape) for name, stack in _stacks(layer)}
    held = {name: tuple(tensors["value"].shape) for name, tensors in copies.items()}
    if own != held:
        raise ConfigError(
            f"the copies are of experts of shapes {held}, and those of the layer have {own}; "
            "restore them before any edit that changes shapes"
        )
    for name, stack in _stacks(layer):
        index = torch.tensor(experts, device=stack.device)
        for key, values in _tensors(stack, state):
            kept = copies[name].get(key)
            values[index] = 0 if kept is None else kept[list(experts)].to(values)


def _stacks(layer: MoE) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters in which experts differ, ``(E, ...)``, by name."""
    bank = layer.bank
    if not bank.expert_parameters:
        raise ConfigError(
            f"expert: {type(bank).__name__} has experts of several forms, whose parameters are not "
            "stacked; choose experts of one form such as mlp"
        )
    return ((name, bank.get_parameter(name)) for name in bank.expert_parameters)


def _tensors(stack: nn.Parameter, state: State) -> Iterator[tuple[str, Tensor]]:
    """A stack as ``value``, and states of the optimizer that have an entry for each expert."""
    yield "value", stack.data
    for key, held in state.get(stack, {}).items():
        if isinstance(held, Tensor) and held.shape[:1] == stack.shape[:1]:
            yield key, held


def _on_cpu(values: Tensor) -> Tensor:
    is_on_gpu = values.is_cuda
    held = torch.empty_like(values, device="cpu", pin_memory=is_on_gpu)
    return held.copy_(values, non_blocking=is_on_gpu)
