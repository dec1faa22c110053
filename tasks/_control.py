"""Dense control arms: what a routed layer must beat at equal cost."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import experts
import routers
from experts import Bank, MoE, count_flops
from routers import ConfigError

#: Builds the dense layer that stands in for a routed one.
Control = Callable[[MoE, tuple[int, ...], tuple[str, dict[str, Any]]], MoE]


def iso_flop(moe: MoE, sample_shape: tuple[int, ...], expert: tuple[str, dict[str, Any]]) -> MoE:
    """One expert for all, as wide as makes a sample cost what ``moe`` costs, router included."""

    def cost(layer: MoE) -> int:
        return sample_flops(layer, sample_shape)

    return _matched(cost(moe), cost, moe, expert)


def iso_parameter(
    moe: MoE, sample_shape: tuple[int, ...], expert: tuple[str, dict[str, Any]]
) -> MoE:
    """One expert for all, as wide as makes it hold the parameters of ``moe``, router included."""
    return _matched(num_parameters(moe), num_parameters, moe, expert)


CONTROLS: dict[str, Control] = {rule.__name__: rule for rule in (iso_flop, iso_parameter)}


def num_parameters(module: nn.Module) -> int:
    """All parameters of a module."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def sample_flops(moe: MoE, sample_shape: tuple[int, ...], samples: int = 8) -> int:
    """FLOPs a layer spends on ``samples`` random samples in eval, counted as they run."""
    training = moe.training
    moe.eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, *sample_shape, generator=generator)
    ids = torch.zeros(x.shape[: x.dim() - moe.bank.row_dims], dtype=torch.long)
    if moe.router.traits.needs_ids:
        moe.router.prepare(ids.flatten(), torch.zeros(ids.numel(), 1))
    total = count_flops(lambda: moe(x, ids=ids))
    moe.train(training)
    return total


def _matched(
    target: int, cost: Callable[[MoE], int], moe: MoE, expert: tuple[str, dict[str, Any]]
) -> MoE:
    """The dense layer whose ``hidden`` brings ``cost`` nearest to ``target``."""
    name, options = expert
    if "hidden" not in options:
        raise ConfigError(
            f"moe.control: expert={name} has no width `hidden` to match by; use expert=mlp"
        )

    def dense(hidden: int) -> MoE:
        bank: Bank = experts.build(name, moe.bank.dim, 1, **{**options, "hidden": hidden})
        return MoE(routers.build("uniform", moe.router.dim, 1, k=1), bank)

    low, high = 1, 2
    while cost(dense(high)) < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(dense(middle)) < target else (low, middle)
    return min((dense(low), dense(high)), key=lambda layer: abs(cost(layer) - target))
