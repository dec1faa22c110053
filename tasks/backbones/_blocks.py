"""The transformer block that image and text models share, residual layers, and their checks."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experts import Attend, MixtureOfAttentionHeads, RoutedAttention, SwitchHead, attend_to_all
from routers import OptionError, Routing
from routers.plugins import unknown

from .._task import Batch, Layer, check_counts, check_depth, check_rates


class Block(nn.Module):
    """Pre-norm attention, then a pre-norm layer that may be routed; both are residual.

    The layer is ``(x, mask=…, ids=…, task=…) -> (update, routing)``: an ``MoE``, or a
    ``FeedForward``, whose routing is None.
    """

    def __init__(
        self, dim: int, heads: int, layer: nn.Module, attend: Attend = attend_to_all
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attend = attend
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.moe_norm = nn.LayerNorm(dim)
        self.moe = layer

    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, **about: Any
    ) -> tuple[Tensor, list[Routing]]:
        """``(B, L, D)`` to the same shape, and the layer's routing, if it has one.

        ``mask`` is ``(B, L)`` bool, False at padding; ``about`` what the router may know of items:
        ``ids`` ``(B, L)`` and ``task``, ``(B,)`` or ``(B, L)``, a task, language or domain, and
        ``earlier``, the routings of the blocks before.
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen = self.attend(query, key, value, mask)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        update, routing = self.moe(self.moe_norm(x), mask=mask, **about)
        return x + update, [] if routing is None else [routing]


class HeadsBlock(nn.Module):
    """A block whose attention is routed too, then a routed layer; both are residual."""

    def __init__(self, dim: int, attention: RoutedAttention, layer: nn.Module) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = attention
        self.moe_norm = nn.LayerNorm(dim)
        self.moe = layer

    def forward(
        self, x: Tensor, *, earlier: Sequence[Routing] = (), **about: Any
    ) -> tuple[Tensor, list[Routing]]:
        """``(B, L, D)`` to the same shape, and the routings of both, as ``Block``."""
        update, of_heads = self.attention(self.attention_norm(x), earlier=earlier, **about)
        x = x + update
        update, routing = self.moe(self.moe_norm(x), earlier=[*earlier, of_heads], **about)
        return x + update, [of_heads, routing]


def _dense(shape: tuple[int, int], layer: Layer, heads: int, attend: Attend) -> Block:
    return Block(shape[1], heads, layer(shape), attend)


def _moa(shape: tuple[int, int], layer: Layer, heads: int, attend: Attend) -> HeadsBlock:
    """Heads with the router and settings of a layer, each as wide as a dense one."""
    width = shape[1] // heads
    given = layer(shape)
    with _drawn_apart():
        attention = MixtureOfAttentionHeads.like(given, width=width, attend=attend)
    return HeadsBlock(shape[1], attention, layer(shape))


def _switch_head(shape: tuple[int, int], layer: Layer, heads: int, attend: Attend) -> HeadsBlock:
    """As many heads as dense ones, with routers like that of a layer."""
    width = shape[1] // heads
    given = layer(shape)
    with _drawn_apart():
        attention = SwitchHead.like(given, heads=heads, width=width, attend=attend)
    return HeadsBlock(shape[1], attention, layer(shape))


@contextmanager
def _drawn_apart() -> Iterator[None]:
    """Context manager: the generator outside advances by one number, however many are drawn.

    So dense layers that are built later have the same weights for any number of heads.
    """
    seed = int(torch.randint(2**31, ()))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


#: Routed blocks by the name of their attention.
ATTENTION = {"dense": _dense, "moa": _moa, "switch_head": _switch_head}


class FeedForward(nn.Module):
    """The dense layer of a block that is not routed: two linear layers around a GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.into = nn.Linear(dim, hidden)
        self.back = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, **about: object) -> tuple[Tensor, None]:
        """``(..., D)`` to the same shape; nothing is routed, so the rest is not read."""
        return self.back(F.gelu(self.into(x))), None


class Blocks(nn.ModuleList):
    """A stack of blocks for sequences up to ``shape`` ``(L, D)``; it collects their routings.

    ``routed`` are the indices of the routed blocks, from 0; None for all. The others have a dense
    feed-forward layer four times as wide as ``D``. ``attention`` is that of routed blocks, a name
    in ``ATTENTION``.
    """

    def __init__(
        self,
        layer: Layer,
        shape: tuple[int, int],
        depth: int,
        heads: int,
        attend: Attend = attend_to_all,
        routed: Sequence[int] | None = None,
        attention: str = "dense",
    ) -> None:
        dim = shape[1]
        chosen = range(depth) if routed is None else routed
        super().__init__(
            ATTENTION[attention](shape, layer, heads, attend)
            if i in chosen
            else Block(dim, heads, FeedForward(dim, 4 * dim), attend)
            for i in range(depth)
        )

    def forward(self, x: Tensor, **about: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, L, D)`` through all blocks; ``about`` as in ``Block.forward``."""
        routings: list[Routing] = []
        for block in self:
            x, own = block(x, earlier=tuple(routings), **about)
            routings += own
        return x, routings


def known(batch: Batch) -> dict[str, Tensor | None]:
    """The ``ids`` and the ``task`` of a batch, by which routers may know its items."""
    return {"ids": batch.get("ids"), "task": batch.get("task")}


def residual(
    x: Tensor, layers: Iterable[nn.Module], before: Iterable[nn.Module], **about: Tensor | None
) -> tuple[Tensor, list[Routing]]:
    """Add to ``x`` what each layer makes of it; returns also the routings of those that route.

    The input of each layer passes its norm or dropout in ``before``; layers and ``about`` are as
    ``Block`` takes them.
    """
    routings: list[Routing] = []
    for layer, norm in zip(layers, before, strict=False):
        update, routing = layer(norm(x), earlier=routings, **about)
        x = x + update
        if routing is not None:
            routings.append(routing)
    return x, routings


def check_blocks(
    dim: int,
    depth: int,
    heads: int,
    routed: Sequence[int] | None = None,
    attention: str = "dense",
    pairs: bool = False,
) -> None:
    """Raise ``OptionError`` for an impossible stack of blocks.

    Where ``pairs`` is set, each head's values must make pairs, as ``rotary`` takes them.
    """
    check_counts(heads=heads)
    if dim < 1 or dim % heads:
        raise OptionError("dim", dim, f"a positive multiple of heads={heads}")
    check_depth(depth)
    if routed is not None and not (routed and set(routed) <= set(range(depth))):
        expected = f"one or more integers in [0, depth={depth}), or null"
        raise OptionError("routed", list(routed), expected)
    if attention not in ATTENTION:
        raise unknown("attention", attention, ATTENTION)
    if pairs and dim % (2 * heads):
        raise OptionError("dim", dim, f"a multiple of 2 * heads={2 * heads}")


def check_ngrams(ngrams: Sequence[int], buckets: int, **rates: float) -> None:
    """Raise ``OptionError`` for impossible lengths or tables of n-grams, or rates of dropout."""
    if not ngrams or min(ngrams) < 1 or len(set(ngrams)) < len(ngrams):
        raise OptionError("ngrams", list(ngrams), "different integers >= 1")
    check_counts(buckets=buckets)
    check_rates(**rates)
