"""Baselines: the dense layer, the loop over experts, and layers of other libraries."""

import importlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import routers
from routers import Items, Router

from .._bank import stacked
from ..families import from_transformers
from .candidates import Candidate, Factory, Shape, SkipBenchmark

_TRANSFORMERS = "pip install transformers"


class Dense(nn.Module):
    """``gelu(x V) W`` with a hidden width of ``K * H``: the active FLOPs of a top-K layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden = shape.k * shape.hidden
        # matrices, not slices of a stack: a slice would add a copy to the backward pass
        self.up = nn.Parameter(stacked(1, shape.dim, hidden).detach().squeeze(0))
        self.down = nn.Parameter(stacked(1, hidden, shape.dim).detach().squeeze(0))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x @ self.up) @ self.down


class Loop(nn.Module):
    """A loop over experts: each selects its tokens by comparison and adds its output."""

    def __init__(self, router: Router, shape: Shape) -> None:
        super().__init__()
        self.router = router
        self.up = stacked(shape.num_experts, shape.dim, shape.hidden)
        self.down = stacked(shape.num_experts, shape.hidden, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        routing = self.router(Items(x))
        weight = routing.weight.unsqueeze(-1).to(x.dtype)  # gates may be of a wider dtype
        y = torch.zeros_like(x)
        # unbind: indexing the stack in a loop would build one full gradient of it per expert
        for expert, (up, down) in enumerate(zip(self.up.unbind(), self.down.unbind(), strict=True)):
            (assigned,) = torch.where(routing.expert == expert)
            item = routing.item[assigned]
            y.index_add_(0, item, weight[assigned] * (F.gelu(x[item] @ up) @ down))
        return y


def dense(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """The layer without routing that all ratios refer to."""
    layer = Dense(shape).to(device, dtype)
    return Candidate("dense", layer, layer, shape.flops)


def loop(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """The router and the experts of ``topk``, run by ``Loop``."""
    router = routers.build("topk", shape.dim, shape.num_experts, k=shape.k)
    layer = Loop(router, shape).to(device, dtype)
    return Candidate("loop over experts", layer, layer, shape.flops, patience=1.0)


def mixtral_eager(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Mixtral's block in transformers, with a loop over the experts that have tokens."""
    return _mixtral("eager", shape, dtype, device)


def mixtral_grouped_mm(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Mixtral's block in transformers, with one grouped product per weight matrix."""
    module = import_peer("transformers.integrations.moe", _TRANSFORMERS)
    if "grouped_mm" not in getattr(module, "ALL_EXPERTS_FUNCTIONS", ()):
        raise SkipBenchmark("the installed transformers has no grouped_mm experts")
    return _mixtral("grouped_mm", shape, dtype, device)


def mixtral_converted(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Mixtral's block in transformers, with the same weights, as a layer of the engine."""
    block, note = _mixtral_block("eager", shape, dtype, device)
    layer = from_transformers(block)
    return Candidate(
        "Mixtral converted", layer, lambda x: layer(x)[0], shape.gated_flops, f"from {note}"
    )


def _mixtral(
    implementation: str, shape: Shape, dtype: torch.dtype, device: torch.device
) -> Candidate:
    block, note = _mixtral_block(implementation, shape, dtype, device)

    def forward(x: Tensor) -> Tensor:
        out = block(x.unsqueeze(0))
        y: Tensor = out[0] if isinstance(out, tuple) else out  # older versions add router logits
        return y.view_as(x)

    label = f"Mixtral {implementation}"
    return Candidate(label, block, forward, shape.gated_flops, note, patience=1.0)


def _mixtral_block(
    implementation: str, shape: Shape, dtype: torch.dtype, device: torch.device
) -> tuple[nn.Module, str]:
    """The block, and a note about it."""
    mixtral = import_peer("transformers.models.mixtral.modeling_mixtral", _TRANSFORMERS)
    config = mixtral.MixtralConfig(
        hidden_size=shape.dim,
        intermediate_size=shape.gated_hidden,
        num_local_experts=shape.num_experts,
        num_experts_per_tok=shape.k,
    )
    # normally set by the constructor of the whole model, which is not used here
    config._experts_implementation = implementation
    block: nn.Module = mixtral.MixtralSparseMoeBlock(config).to(device, dtype)
    for parameter in block.parameters():  # the block leaves them uninitialized
        nn.init.normal_(parameter, std=0.02)
    about = "SwiGLU experts of hidden width 2/3 H, in multiples of 8; no tokens are dropped"
    return block, f"{_release('transformers')}; {about}"


def pytorch_mixtures(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """The top-K layer of pytorch-mixtures: a loop over GELU experts of two matrices."""
    # its metadata pins torch 2.2.2, so install it with --no-deps
    package = import_peer("pytorch_mixtures", "pip install --no-deps pytorch-mixtures")
    config = package.MoEConfig(
        hidden_dim=shape.dim,
        intermediate_dim=shape.hidden,
        num_experts=shape.num_experts,
        expert_fn="ff",
        expert_act="gelu",
        router_fn="topk",
        capacity_factor=None,  # its top-K layer has no capacity
        topk=shape.k,
        dtype=dtype,
    )
    layer = package.TopkMoE(config).to(device, dtype)
    return Candidate(
        "pytorch-mixtures",
        layer,
        lambda x: layer(x.unsqueeze(0)).squeeze(0),
        shape.flops,
        f"{_release('pytorch-mixtures')}; experts with biases; no tokens are dropped",
        patience=1.0,
    )


def st_moe(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """The layer of st-moe-pytorch: dispatch and combine as dense one-hot products."""
    group = 256  # tokens: the dispatch tensors grow with the square of the group size
    capacity = 1.25  # the library's default, here relative to an even load of K choices
    if shape.tokens % group:
        raise SkipBenchmark(f"N={shape.tokens} is not a multiple of the group size {group}")
    package = import_peer("st_moe_pytorch.st_moe_pytorch", "pip install st-moe-pytorch")
    mult = (shape.gated_hidden + 0.5) * 3 / (2 * shape.dim)  # it uses int(dim * mult * 2 / 3)
    experts = [package.Expert(dim=shape.dim, hidden_mult=mult) for _ in range(shape.num_experts)]
    layer = package.MoE(
        dim=shape.dim,
        num_experts=shape.num_experts,
        gating_top_n=shape.k,
        threshold_train=0.0,  # the default drops choices of low weight at random
        capacity_factor_train=capacity * shape.k,
        experts=nn.ModuleList(experts),
    ).to(device, dtype)
    return Candidate(
        "st-moe-pytorch",
        layer,
        lambda x: layer(x.view(-1, group, shape.dim)).outputs.view_as(x),
        shape.gated_flops,
        f"{_release('st-moe-pytorch')}; GEGLU experts of hidden width 2/3 H, in multiples of 8, "
        f"with biases; groups of {group} tokens; "
        f"tokens above {capacity} times an even load are dropped",
        patience=1.0,
    )


OTHERS: Sequence[Factory] = (loop, mixtral_eager, mixtral_grouped_mm, pytorch_mixtures, st_moe)


def import_peer(module: str, install: str) -> Any:
    """Import a module of another library; ``SkipBenchmark`` with the command if not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        subject = "" if module.startswith(missing) else f"its dependency {missing} is "
        raise SkipBenchmark(f"{subject}not installed: {install}") from error


def _release(package: str) -> str:
    return f"{package} {version(package)}"
