"""A few single neurons per item: products by index, without a row per assignment."""

import mmap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers.blocks import stable_order, uncompiled

from .activations import GELU
from .autocast import explicit_backward

_SUM = 0  # the mode of embedding_bag, as its kernels number it
_LARGE = 2**24  # bytes; smaller tensors are zeroed as fast directly


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of items and neurons, ordered by item.

    Attributes:
        item: ``(A,)`` int64, in order.
        neuron: ``(A,)`` int64.
        start: ``(N,)`` where each item's pairs begin.
        count: the number of neurons, ``E``.
    """

    item: Tensor
    neuron: Tensor
    start: Tensor
    count: int

    @cached_property
    def by_neuron(self) -> tuple[Tensor, Tensor, Tensor]:
        """The pairs sorted by neuron; the distinct neurons; where each of them begins."""
        order = stable_order(self.neuron, self.count)
        ranked = self.neuron.index_select(0, order)
        first = torch.ones_like(ranked, dtype=torch.bool)
        first[1:] = ranked[1:] != ranked[:-1]
        start = first.nonzero().squeeze(1)
        return order, ranked.index_select(0, start), start


@uncompiled
def neurons(x: Tensor, weight: Tensor, into: Tensor, out: Tensor, pairs: Pairs) -> Tensor:
    """``y_i = sum_a w_a gelu(x_i . u_a) v_a`` over the pairs of each item.

    Time and memory grow with the number of pairs, not of neurons. Gradients of the weights are
    dense, for any optimizer, but on a CPU the system allocates only the pages that pairs write.
    ``x`` and the result are ``(N, D)``, ``weight`` ``(A,)``, ``into`` (``u``) and ``out`` (``v``)
    ``(E, D)``.
    """
    x, weight = x.to(into.dtype), weight.to(into.dtype)
    y: Tensor = _Neurons.apply(x, weight, into, out, pairs)  # type: ignore[no-untyped-call]
    return y


class _Neurons(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, into: Tensor, out: Tensor, pairs: Pairs
    ) -> Tensor:
        x, into, out = (t.contiguous() for t in (x, into, out))
        inner = dots(x, into, pairs.neuron, pairs.start, pairs.item)
        active = GELU.apply(inner)
        ctx.save_for_backward(x, weight, inner, active, into, out)
        ctx.pairs = pairs
        return sums(out, active * weight, pairs.neuron, pairs.start)

    @staticmethod
    @explicit_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inner, active, into, out = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        for_sum = dots(grad, out, pairs.neuron, pairs.start, pairs.item)
        for_inner = GELU.backward(for_sum * weight, inner)
        return (
            sums(into, for_inner, pairs.neuron, pairs.start),
            for_sum * active,
            _by_neuron(x, for_inner, pairs),
            _by_neuron(grad, active * weight, pairs),
            None,
        )


@torch.library.custom_op("switchyard::dots", mutates_args=())
def dots(x: Tensor, matrix: Tensor, row: Tensor, start: Tensor, item: Tensor) -> Tensor:
    """Dot products of each pair's item ``(N, D)`` and row of a matrix ``(E, D)``: ``(A,)``.

    A custom operation so that FLOPs are counted.
    """
    if not len(item):
        return x.new_empty(0)
    found: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        x, matrix, row, start, item, _SUM
    )
    return found


@torch.library.custom_op("switchyard::sums", mutates_args=())
def sums(matrix: Tensor, weight: Tensor, row: Tensor, start: Tensor) -> Tensor:
    """Weighted sums of each item's rows of a matrix ``(E, D)``: ``(N, D)``."""
    if not len(start):
        return matrix.new_empty(0, matrix.shape[1])
    return F.embedding_bag(row, matrix, start, mode="sum", per_sample_weights=weight)


def _by_neuron(x: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
    """Weighted sums of each neuron's items ``(N, D)``: ``(E, D)``."""
    total = _zeros(pairs.count, x)
    if not len(pairs.item):
        return total
    order, different, start = pairs.by_neuron
    found = sums(x, weight.index_select(0, order), pairs.item.index_select(0, order), start)
    return total.index_copy_(0, different, found)


def _zeros(count: int, like: Tensor) -> Tensor:
    """``(count, D)`` zeros; on a CPU large ones take memory only where they are written."""
    size = count * like.shape[1] * like.element_size()
    if like.device.type != "cpu" or size < _LARGE:
        return like.new_zeros(count, like.shape[1])
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=like.dtype).view(count, like.shape[1])
