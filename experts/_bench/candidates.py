"""Candidates of the benchmark: layer sizes, the interface of a candidate, and our routed layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

import routers
from routers import Items

from .._bank import EXPERTS
from ..layers.moe import MoE

_BISECTIONS = 30


@dataclass(frozen=True)
class Shape:
    """Sizes of a layer and its batch: ``N`` tokens, ``D`` width, ``H`` hidden width of an expert,
    ``E`` experts, ``K`` experts per token.

    >>> print(Shape(4096, 256, 1024, 8, 2))
    N=4096 D=256 H=1024 E=8 K=2
    """

    tokens: int
    dim: int
    hidden: int
    num_experts: int
    k: int

    @property
    def flops(self) -> int:
        """Forward FLOPs per token of ``K`` experts with two matrices; a multiply-add is 2."""
        return 4 * self.k * self.dim * self.hidden

    @property
    def gated_hidden(self) -> int:
        """Hidden width, a multiple of 8, at which three matrices cost as much as two of ``H``.

        >>> Shape(1, 1, 1024, 8, 2).gated_hidden
        680
        """
        return max(8, 8 * round(self.hidden * 2 / 3 / 8))

    @property
    def gated_flops(self) -> int:
        """Forward FLOPs per token of ``K`` experts with three matrices of ``gated_hidden``."""
        return 6 * self.k * self.dim * self.gated_hidden

    def __str__(self) -> str:
        return " ".join(f"{axis}={n}" for axis, n in zip("NDHEK", astuple(self), strict=True))


#: Sizes for ``over=shapes``, from few large experts to many small ones.
SHAPES: Mapping[int, Shape] = {
    1: Shape(4096, 256, 1024, 8, 2),
    2: Shape(4096, 512, 1024, 64, 2),
    3: Shape(4096, 256, 256, 64, 4),
    4: Shape(2048, 64, 128, 8, 2),
    5: Shape(8192, 128, 256, 256, 2),
    6: Shape(4096, 128, 128, 1024, 4),
}

#: Sizes for ``over=experts``: constant work per token, growing number of experts.
GROWTH: Sequence[Shape] = tuple(Shape(4096, 128, 128, 2**power, 4) for power in range(3, 13))


class SkipBenchmark(Exception):  # noqa: N818 - a skip is no error, as in unittest.SkipTest
    """Raised by a factory whose candidate cannot run at a shape or is not installed."""


@dataclass(frozen=True)
class Candidate:
    """A layer to benchmark.

    Args:
        label: display name in tables and plots.
        module: owner of the parameters.
        forward: maps ``x (N, D)`` to ``y (N, D)``, router included.
        flops: active forward FLOPs per token of the experts, without routers and slot averages.
        note: differences from the other candidates, printed below the tables.
        prepare: transforms each round's batch before the timed part.
        patience: seconds; a candidate whose fastest step is slower runs fewer rounds.
        load_ratio: load of the busiest expert relative to the mean, if ``prepare`` sets it.
    """

    label: str
    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    flops: int
    note: str = ""
    prepare: Callable[[Tensor], Tensor] = torch.Tensor.detach
    patience: float = math.inf
    load_ratio: float | None = None


#: Builds a candidate at a shape, with parameters of a dtype on a device; may raise
#: ``SkipBenchmark``.
Factory = Callable[[Shape, torch.dtype, torch.device], Candidate]


def topk(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Each token selects its K best experts."""
    layer = _moe("topk", shape, k=shape.k).to(device, dtype)
    return Candidate("topk", layer, lambda x: layer(x)[0], shape.flops)


def topk_glu(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Top-K routing to gated experts, the kind that most other libraries have."""
    layer = _moe("topk", shape, "glu", shape.gated_hidden, k=shape.k).to(device, dtype)
    note = "SwiGLU experts of hidden width 2/3 H, in multiples of 8"
    return Candidate("topk, glu", layer, lambda x: layer(x)[0], shape.gated_flops, note)


def expert_choice(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Each expert selects ``K * N / E`` tokens."""
    layer = _moe("expert_choice", shape, factor=float(shape.k)).to(device, dtype)
    return Candidate("expert_choice", layer, lambda x: layer(x)[0], shape.flops)


def soft_mixture(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Each token is processed by all experts."""
    e, most = shape.num_experts, 8  # it costs E / K times as much as the other layers
    if e > most:
        raise SkipBenchmark(f"it runs all experts on all tokens, and E={e} exceeds {most}")
    layer = _moe("soft_mixture", shape).to(device, dtype)
    flops, note = shape.flops * e // shape.k, "all experts process all tokens"
    return Candidate("soft_mixture", layer, lambda x: layer(x)[0], flops, note)


def soft_moe(shape: Shape, dtype: torch.dtype, device: torch.device) -> Candidate:
    """Slots over groups of tokens, as many slots as top-K routing has assignments."""
    group = 256  # tokens that share slots
    if shape.tokens % group:
        raise SkipBenchmark(f"N={shape.tokens} is not a multiple of the group size {group}")
    slots, rest = divmod(group * shape.k, shape.num_experts)
    if rest or not slots:
        raise SkipBenchmark(f"{group} * K / E slots per expert is not a positive integer")
    layer = _moe("soft_moe", shape, slots=slots).to(device, dtype)
    return Candidate(
        "soft_moe",
        layer,
        lambda x: layer(x.view(-1, group, shape.dim))[0].view_as(x),
        shape.flops,
        f"groups of {group} tokens, {group} * K / E slots per expert; "
        "FLOPs exclude the slot averages",
    )


OURS: Sequence[Factory] = (topk, topk_glu, expert_choice, soft_mixture, soft_moe)


def _moe(
    router: str, shape: Shape, expert: str = "mlp", hidden: int | None = None, **options: float
) -> MoE:
    bank = EXPERTS.build(expert, shape.dim, shape.num_experts, hidden=hidden or shape.hidden)
    return MoE(routers.build(router, shape.dim, shape.num_experts, **options), bank)


@torch.no_grad()
def load_ratio(router: nn.Module, x: Tensor) -> float:
    """Load of the busiest expert divided by the mean load, from 1 to ``E / K``."""
    load = router(Items(x)).load.double()
    return float(load.max() / load.mean())


def skewed(
    topk: Candidate, target: float, draw: Callable[[], Tensor], generator: torch.Generator
) -> Candidate:
    """The same layer on batches shifted so that its busiest expert has ``target`` times the mean.

    ``draw`` returns a fresh batch; ``load_ratio`` of the result is a median over five of them.
    """
    router = topk.module.get_submodule("router")
    shift = skew_shift(router, draw(), target, generator)
    reached = median(load_ratio(router, draw() + shift) for _ in range(5))
    label = f"{topk.label}, skew {target:g}"
    return replace(topk, label=label, prepare=shift.add, load_ratio=reached)


def skew_shift(router: nn.Module, x: Tensor, target: float, generator: torch.Generator) -> Tensor:
    """Smallest shift ``(D,)`` of all tokens ``(N, D)`` at which the load ratio reaches ``target``.

    The shift is a multiple of one random direction (from ``generator``, on the CPU), found by
    bisection: it favours the experts whose gate vectors align with the direction.
    """
    direction = torch.randn(x.shape[-1], generator=generator).to(x.device, x.dtype)
    if load_ratio(router, x) >= target:
        return torch.zeros_like(direction)

    def falls_short(factor: float) -> bool:
        return load_ratio(router, x + factor * direction) < target

    low, high = 0.0, 1.0
    while falls_short(high) and high < 2**_BISECTIONS:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if falls_short(middle) else (low, middle)
    return high * direction
