"""The transformer block that image and text models share, residual layers, and their checks."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError, Routing

from .._task import Batch, Layer, check_counts, check_depth, check_rates

#: ``(query, key, value, mask) -> seen``. The first three and the result are
#: ``(B, heads, L, width)``; ``mask`` is ``(B, L)`` bool, False at padding, or None.
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def to_all(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Each position attends to all unpadded ones; the result is 0 if all are padding."""
    seen = None if mask is None else mask[:, None, None, :]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


def to_past(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Each position attends to itself and the unpadded ones before it.

    >>> value = torch.tensor([1.0, 3.0, 8.0]).view(1, 1, 3, 1)
    >>> to_past(torch.zeros_like(value), torch.zeros_like(value), value, None).flatten().tolist()
    [1.0, 2.0, 4.0]
    """
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    length = mask.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    seen = mask[:, None, None, :] & past
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


def rotary(
    attend: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> Tensor:
    """``attend`` with positions: queries and keys are turned, so that scores see distances.

    Use it as ``partial(rotary, to_past)``. Source: Su et al. 2021, 2104.09864, equation 34.
    """
    length, width = query.shape[-2:]
    pair = torch.arange(width // 2, device=query.device, dtype=torch.float32)
    position = torch.arange(length, device=query.device, dtype=torch.float32)
    angle = torch.outer(position, 10000.0 ** (-2 * pair / width))
    return attend(_turned(query, angle), _turned(key, angle), value, mask)


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    """Pairs of values, one from each half, turned by ``angle`` ``(L, width / 2)``."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class Block(nn.Module):
    """Pre-norm attention, then a pre-norm layer that may be routed; both are residual.

    The layer is ``(x, mask=…, ids=…, task=…) -> (update, routing)``: an ``MoE``, or a
    ``FeedForward``, whose routing is None.
    """

    def __init__(self, dim: int, heads: int, layer: nn.Module, attend: Attend = to_all) -> None:
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
    ) -> tuple[Tensor, Routing | None]:
        """``(B, L, D)`` to the same shape, and the layer's routing.

        ``mask`` is ``(B, L)`` bool, False at padding; ``about`` what the router may know of items:
        ``ids`` ``(B, L)`` and ``task``, ``(B,)`` or ``(B, L)``, a task, language or domain, and
        ``earlier``, the routings of the blocks before.
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen = self.attend(query, key, value, mask)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        update, routing = self.moe(self.moe_norm(x), mask=mask, **about)
        return x + update, routing


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
    feed-forward layer four times as wide as ``D``.
    """

    def __init__(
        self,
        layer: Layer,
        shape: tuple[int, int],
        depth: int,
        heads: int,
        attend: Attend = to_all,
        routed: Sequence[int] | None = None,
    ) -> None:
        dim = shape[1]
        chosen = range(depth) if routed is None else routed
        super().__init__(
            Block(dim, heads, layer(shape) if i in chosen else FeedForward(dim, 4 * dim), attend)
            for i in range(depth)
        )

    def forward(self, x: Tensor, **about: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, L, D)`` through all blocks; ``about`` as in ``Block.forward``."""
        routings: list[Routing] = []
        for block in self:
            x, routing = block(x, earlier=routings, **about)
            if routing is not None:
                routings.append(routing)
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
    dim: int, depth: int, heads: int, routed: Sequence[int] | None = None, pairs: bool = False
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
    if pairs and dim % (2 * heads):
        raise OptionError("dim", dim, f"a multiple of 2 * heads={2 * heads}")


def check_ngrams(ngrams: Sequence[int], buckets: int, **rates: float) -> None:
    """Raise ``OptionError`` for impossible lengths or tables of n-grams, or rates of dropout."""
    if not ngrams or min(ngrams) < 1 or len(set(ngrams)) < len(ngrams):
        raise OptionError("ngrams", list(ngrams), "different integers >= 1")
    check_counts(buckets=buckets)
    check_rates(**rates)
