"""The transformer block that image and text models share."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError, Routing

from .._task import Layer
from ._attention import Attend, to_all


class Block(nn.Module):
    """Pre-norm attention, then a pre-norm layer that may be routed; both are residual.

    Args:
        dim: ``D``.
        heads: attention heads.
        layer: ``(x, mask=…, ids=…, task=…) -> (update, routing)``: an ``MoE``, or a
            ``FeedForward``, whose routing is None.
        attend: attention function.
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
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        ids: Tensor | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """``(B, L, D)`` to the same shape, and the layer's routing.

        Args:
            x: ``(B, L, D)``.
            mask: ``(B, L)`` bool, False at padding.
            ids: ``(B, L)``, what the router may know an item by.
            task: ``(B,)`` or ``(B, L)``, its task, language or domain.
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen = self.attend(query, key, value, mask)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        update, routing = self.moe(self.moe_norm(x), mask=mask, ids=ids, task=task)
        return x + update, routing


class FeedForward(nn.Module):
    """The dense layer of a block that is not routed: two linear layers around a GELU.

    >>> import torch
    >>> update, routing = FeedForward(8, 32)(torch.zeros(2, 3, 8))
    >>> update.shape, routing
    (torch.Size([2, 3, 8]), None)
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.into = nn.Linear(dim, hidden)
        self.back = nn.Linear(hidden, dim)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        ids: Tensor | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """``(..., D)`` to the same shape; nothing is routed, so the rest is not read."""
        return self.back(F.gelu(self.into(x))), None


class Blocks(nn.ModuleList):
    """A stack of blocks; called, it collects the routings of those that route.

    Args:
        layer: builds a routed layer for samples of shape ``(length, dim)``.
        length: ``L`` of the longest sequence.
        dim: ``D``.
        depth: number of blocks.
        heads: attention heads.
        attend: attention function.
        routed: which blocks are routed, from 0; None for all. The others have a dense
            feed-forward layer four times as wide as ``D``.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        length: int,
        dim: int,
        depth: int,
        heads: int,
        attend: Attend = to_all,
        routed: Sequence[int] | None = None,
    ) -> None:
        inner = _layers(layer, (length, dim), depth, range(depth) if routed is None else routed)
        super().__init__(Block(dim, heads, one, attend) for one in inner)

    def forward(self, x: Tensor, **about: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, L, D)`` through all blocks; ``about`` as in ``Block.forward``."""
        routings = []
        for block in self:
            x, routing = block(x, **about)
            if routing is not None:
                routings.append(routing)
        return x, routings


def _layers(
    layer: Layer, shape: tuple[int, int], depth: int, routed: Sequence[int]
) -> Iterator[nn.Module]:
    for index in range(depth):
        yield layer(shape) if index in routed else FeedForward(shape[1], 4 * shape[1])


def check_blocks(dim: int, depth: int, heads: int, routed: Sequence[int] | None = None) -> None:
    """Raise ``OptionError`` for an impossible stack of blocks."""
    if heads < 1:
        raise OptionError("heads", heads, "an integer >= 1")
    if dim < 1 or dim % heads:
        raise OptionError("dim", dim, f"a positive multiple of heads={heads}")
    if depth < 1:
        raise OptionError("depth", depth, "an integer >= 1")
    if routed is not None and not (routed and set(routed) <= set(range(depth))):
        raise OptionError(
            "routed",
            list(routed),
            f"one or more integers in [0, depth={depth}), or null",
        )


def check_rotary(dim: int, heads: int) -> None:
    """Raise ``OptionError`` where rotary positions cannot pair the values of a head."""
    if dim % (2 * heads):
        raise OptionError("dim", dim, f"a multiple of 2 * heads={2 * heads}")


def check_ngrams(ngrams: Sequence[int], buckets: int) -> None:
    """Raise ``OptionError`` for impossible lengths of n-grams or sizes of their table."""
    if not ngrams or min(ngrams) < 1 or len(set(ngrams)) < len(ngrams):
        raise OptionError("ngrams", list(ngrams), "different integers >= 1")
    if buckets < 1:
        raise OptionError("buckets", buckets, "an integer >= 1")


def check_rates(**rates: float) -> None:
    """Raise ``OptionError`` for a probability outside [0, 1)."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise OptionError(name, rate, "a number in [0, 1)")
