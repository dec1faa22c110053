"""Dense control arms of equal cost, which a routed layer should beat."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import experts
from experts import Bank, MoE, count_flops, skip_experts
from routers import ConfigError, Routing

#: A layer's positional and keyword arguments in a pass over real data.
Call = tuple[tuple[Any, ...], dict[str, Any]]

#: What a routed layer and its dense stand-in must have in common.
Cost = Callable[[MoE, Call], int]

#: Largest relative difference in cost that still counts as equal.
TOLERANCE = 0.05


@torch.no_grad()
def iso_flop(layer: MoE, call: Call) -> int:
    """FLOPs of a pass, router included."""
    args, kwargs = call
    routings: list[Routing] = []
    with skip_experts([layer.eval()]) as [idle]:
        outside = count_flops(lambda: routings.append(layer(*args, **kwargs)[1]))
    load, items = routings[0].load.tolist(), int(routings[0].num_real)
    return outside + layer.expert_flops(load, items, idle.row_shape)


def iso_parameter(layer: MoE, call: Call) -> int:
    """Parameters, the router's included."""
    return num_parameters(layer)


CONTROLS: dict[str, Cost] = {cost.__name__: cost for cost in (iso_flop, iso_parameter)}


def num_parameters(module: nn.Module) -> int:
    """All parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def matched(
    routed: MoE,
    call: Call,
    cost: Cost,
    expert: tuple[str, dict[str, Any]],
    around: Callable[[Bank], MoE],
) -> MoE:
    """One expert for all items, as wide as brings its ``cost`` nearest to that of ``routed``.

    Args:
        routed: the layer to replace, and its ``call`` in a pass over real data.
        cost: what to match; ``ConfigError`` where no width comes within ``TOLERANCE``.
        expert: name and options of the expert, whose ``hidden`` is varied.
        around: builds the dense layer around its bank of one expert.
    """
    name, options = expert
    if "hidden" not in options:
        raise ConfigError(
            f"moe.control: expert={name} has no width `hidden` to match by; use expert=mlp"
        )

    def dense(hidden: int) -> MoE:
        return around(experts.build(name, routed.input_dim, 1, **{**options, "hidden": hidden}))

    def cost_of(hidden: int) -> int:
        return cost(dense(hidden), call)

    target = cost(routed, call)
    low, high = 1, 2
    while cost_of(high) < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost_of(middle) < target else (low, middle)
    hidden = min((low, high), key=lambda width: abs(cost_of(width) - target))
    found = cost_of(hidden)
    if abs(found - target) > TOLERANCE * target:
        raise ConfigError(
            f"moe.control: the nearest dense {name} costs {found:,}, the routed layer {target:,}; "
            "no width matches it, so a comparison would not be fair"
        )
    return dense(hidden)
