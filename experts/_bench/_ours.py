"""The routed layers of this project."""

import torch
from torch import Tensor

import routers

from .._bank import EXPERTS, Bank
from ..layers.moe import MoE
from ._contestant import Contestant, LeftOutError
from ._peers import gated_flops, gated_hidden
from ._shapes import Shape

MOST_MIXED = 8  # a dense mixture costs E / K times the others
GROUP = 256  # tokens that share slots


def topk(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """Every token takes its K best experts."""
    layer = _layer("topk", shape, dtype, device, k=shape.k)
    return Contestant("topk", layer, lambda x: _output(layer, x), shape.flops)


def topk_glu(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """The same with gated experts, as peers have them."""
    bank = EXPERTS.build("glu", shape.dim, shape.experts, hidden=gated_hidden(shape))
    layer = _with_router("topk", bank, dtype, device, k=shape.k)
    note = "SwiGLU experts of hidden width 2/3 H, in multiples of 8"
    return Contestant("topk, glu", layer, lambda x: _output(layer, x), gated_flops(shape), note)


def expert_choice(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """Every expert takes ``K * N / E`` tokens."""
    layer = _layer("expert_choice", shape, dtype, device, factor=float(shape.k))
    return Contestant("expert_choice", layer, lambda x: _output(layer, x), shape.flops)


def soft_mixture(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """Every token takes every expert."""
    if shape.experts > MOST_MIXED:
        raise LeftOutError(f"it runs all experts on all tokens, and E={shape.experts} is above 8")
    layer = _layer("soft_mixture", shape, dtype, device)
    flops = shape.flops * shape.experts // shape.k
    note = "all experts work on all tokens"
    return Contestant("soft_mixture", layer, lambda x: _output(layer, x), flops, note)


def soft_moe(shape: Shape, dtype: torch.dtype, device: torch.device) -> Contestant:
    """Slots of groups of tokens; as many slots as top-K has assignments."""
    if shape.tokens % GROUP:
        raise LeftOutError(f"N={shape.tokens} is not a multiple of the group of {GROUP}")
    slots, rest = divmod(GROUP * shape.k, shape.experts)
    if rest or not slots:
        raise LeftOutError(f"{GROUP} * K / E slots per expert is not a whole number")
    layer = _layer("soft_moe", shape, dtype, device, slots=slots)
    note = f"groups of {GROUP} tokens, {GROUP} * K / E slots per expert; their averages not counted"
    return Contestant("soft_moe", layer, lambda x: _by_group(layer, x), shape.flops, note)


def _layer(
    router: str, shape: Shape, dtype: torch.dtype, device: torch.device, **options: float
) -> MoE:
    bank = EXPERTS.build("mlp", shape.dim, shape.experts, hidden=shape.hidden)
    return _with_router(router, bank, dtype, device, **options)


def _with_router(
    router: str, bank: Bank, dtype: torch.dtype, device: torch.device, **options: float
) -> MoE:
    part = routers.build(router, bank.dim, bank.num_experts, **options)
    return MoE(part, bank).to(device, dtype)


def _output(layer: MoE, x: Tensor) -> Tensor:
    y, _ = layer(x)
    return y


def _by_group(layer: MoE, x: Tensor) -> Tensor:
    return _output(layer, x.view(-1, GROUP, x.shape[-1])).view_as(x)
